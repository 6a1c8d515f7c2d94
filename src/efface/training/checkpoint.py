"""Named stateful objects in, one folder out, atomically; safetensors and JSON only."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from efface.errors import RunError


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


class Checkpoints:
    """A folder of `step_00000100/` folders, each complete or absent."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self._folder = folder
        self._keep = keep

    def save(self, step: int, objects: Mapping[str, Stateful], extra: Mapping[str, Any]) -> Path:
        """Write all objects, then rename into place; older checkpoints beyond `keep` go."""
        final = self._folder / f"step_{step:08d}"
        part = self._folder / f".part_{step:08d}"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for name, stateful in objects.items():
                tensors = {k: v.detach().contiguous() for k, v in stateful.tensors().items()}
                save_file(tensors, part / f"{name}.safetensors")
            text = json.dumps({"step": step, **extra})
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
            shutil.rmtree(self._folder / f"step_{old:08d}")
        return final

    def steps(self) -> list[int]:
        return sorted(int(p.name.removeprefix("step_")) for p in self._folder.glob("step_*"))

    def latest(self) -> Path | None:
        steps = self.steps()
        return self._folder / f"step_{steps[-1]:08d}" if steps else None

    @staticmethod
    def restore(folder: Path, objects: Mapping[str, Stateful]) -> dict[str, Any]:
        """Put every object back as it was and return what else was kept."""
        for name, stateful in objects.items():
            stateful.restore(read_tensors(folder, name))
        return json.loads((folder / "state.json").read_text(encoding="utf-8"))


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Tensors of one object of a checkpoint; RunError if they cannot be read."""
    file = folder / f"{name}.safetensors"
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{file} cannot be read ({error}): remove {folder} to resume before it."
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
