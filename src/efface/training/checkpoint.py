"""Named stateful objects in, one folder out, atomically; safetensors and JSON only."""

import copy
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from efface.errors import DataError, RunError
from efface.files import parse_json


class Stateful(Protocol):
    """An object whose whole state is a flat dictionary of tensors."""

    def tensors(self) -> dict[str, Tensor]: ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None: ...


class ModuleState:
    """A module's parameters and buffers."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.module.state_dict())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.module.load_state_dict(dict(tensors))


class OptimizerState:
    """An optimizer's per-parameter tensors, named by the parameter's position."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def tensors(self) -> dict[str, Tensor]:
        state = self._optimizer.state_dict()["state"]
        return {f"{i}.{name}": value for i, entry in state.items() for name, value in entry.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, name = key.split(".", 1)
            own = parameters[int(index)]
            if value.shape == own.shape:
                # Fused AdamW walks memory: layouts must agree (channels_last), not shapes alone.
                value = torch.empty_like(own, dtype=value.dtype).copy_(value)
            state.setdefault(int(index), {})[name] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})


class TensorState:
    """Named tensors that are made once, on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._tensors: dict[str, Tensor] = {}

    def tensors(self) -> dict[str, Tensor]:
        return self._tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = {name: tensor.to(self._device) for name, tensor in tensors.items()}


class Progress(BaseModel):
    """`state.json`: how far a run is, beside its tensors."""

    model_config = ConfigDict(extra="forbid")

    step: int = Field(ge=0)
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)  # that training has taken
    forwards: int = Field(default=0, ge=0)  # of the process that writes
    guard_log: list[dict[str, float]] = []
    collapsed: str | None = None
    stopped: str | None = None


class Checkpoints:
    """A folder of `step_00000100/` folders, each complete or absent."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self._folder = folder
        self._keep = keep

    def save(self, objects: Mapping[str, Stateful], progress: Progress) -> Path:
        """Write all objects, then rename into place; older checkpoints beyond `keep` go."""
        step = progress.step
        final = self._folder / _name(step)
        part = self._folder / f".part_{step:08d}"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for name, stateful in objects.items():
                tensors = {k: v.detach().contiguous() for k, v in stateful.tensors().items()}
                save_file(tensors, part / f"{name}.safetensors")
            text = json.dumps(progress.model_dump())
            (part / "state.json").write_text(text, encoding="utf-8")
            for file in part.iterdir():
                _sync(file)
            if final.exists():
                shutil.rmtree(final)
            part.rename(final)
            _sync(self._folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            raise RunError(
                f"the checkpoint of step {step} could not be written to {self._folder}: {error}. "
                "Earlier checkpoints are intact: make room and start again with --resume."
            ) from error
        for old in self.steps()[: -self._keep]:
            shutil.rmtree(self._folder / _name(old), ignore_errors=True)
        return final

    def steps(self) -> list[int]:
        """Steps that there is a folder of; what is called otherwise is none of ours."""
        found = (re.fullmatch(r"step_([0-9]{8,10})", p.name) for p in self._folder.glob("step_*"))
        steps = sorted(int(match[1]) for match in found if match is not None)
        return [step for step in steps if (self._folder / _name(step)).is_dir()]

    def latest(self) -> Path | None:
        steps = self.steps()
        return self._folder / _name(steps[-1]) if steps else None

    @staticmethod
    def restore(folder: Path, objects: Mapping[str, Stateful]) -> Progress:
        """Put every object back as it was and return what else was kept; RunError if it cannot."""
        state = folder / "state.json"
        try:
            progress = Progress.model_validate(parse_json(state.read_bytes(), "state.json", ""))
            if _name(progress.step) != folder.name:
                raise ValueError(f"it is of step {progress.step}")
        except (OSError, DataError, ValueError) as error:
            raise _unreadable(state, error) from error
        for name, stateful in objects.items():
            tensors = read_tensors(folder, name)
            try:
                stateful.restore(tensors)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, ValueError, LookupError, TypeError) as error:
                raise _unreadable(folder / f"{name}.safetensors", error) from error
        return progress


def _name(step: int) -> str:
    return f"step_{step:08d}"


def _unreadable(file: Path, error: Exception) -> RunError:
    """One line of the reason is enough: networks list every weight that does not fit."""
    reason = next(iter(str(error).splitlines()), "")[:200]
    return RunError(
        f"{file} is not what this run wrote ({reason}): remove {file.parent} to resume before it."
    )


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Tensors of one object of a checkpoint; RunError if they cannot be read."""
    file = folder / f"{name}.safetensors"
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MovingAverage(ModuleState):
    """Average of a module's parameters; buffers are copied.

    With `ramp` the decay grows as (1 + n) / (10 + n), so that early averages follow.
    """

    def __init__(self, module: nn.Module, decay: float, ramp: bool) -> None:
        super().__init__(copy.deepcopy(module).eval().requires_grad_(False))
        self._source = module
        self._decay = decay
        self._ramp = ramp
        self._own: list[Tensor] = list(self.module.parameters())
        self._others: list[Tensor] = list(module.parameters())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the source after update number `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step)) if self._ramp else self._decay
        torch._foreach_lerp_(self._own, self._others, 1 - decay)
        for own, other in zip(self.module.buffers(), self._source.buffers(), strict=True):
            own.copy_(other)
