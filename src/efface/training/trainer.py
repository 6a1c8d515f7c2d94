"""The only loop. It knows no method by name."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from efface.data.randomness import RowRandom, Shard, derive_seed
from efface.data.source import BatchSource
from efface.diffusion.denoiser import Denoiser
from efface.errors import RunError
from efface.methods.base import LossTerms, Method, StepContext
from efface.progress import Bar
from efface.training.averaging import MovingAverage
from efface.training.checkpoint import Checkpoints, ModuleState, OptimizerState, Stateful
from efface.training.gradient_pair import GradientPair
from efface.training.guard import CollapseGuard
from efface.training.parts import check_parts
from efface.training.settings import TrainConfig
from efface.training.stopping import Stopper
from efface.training.tracking import Tracking


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainResult:
    denoiser: Denoiser  # the averaged network that the method delivers
    networks: Mapping[str, Denoiser]
    steps: int
    seconds: float
    images_per_second: float  # rows trained on, both sides, of all processes
    collapsed: str | None  # the guard's sentence, if it stopped the run
    stopped: str | None  # why the run stopped before its last step, if all was well
    guard: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Trained:
    """A network that one phase updates."""

    raw: nn.Module
    wrapped: nn.Module  # as Accelerate hands it back: DDP where there are several processes
    modules: list[nn.Module]
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    rate: float


class Trainer:
    """Runs a method's losses: phases, accumulation, clipping, averaging, checkpoints, guard."""

    def __init__(
        self,
        method: Method,
        networks: Mapping[str, Denoiser],
        source: BatchSource,
        config: TrainConfig,
        folder: Path,
        forget_rows: int = 0,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.accelerator = accelerator or Accelerator()
        self.method, self.source, self.config, self.folder = method, source, config, folder
        self.forget_rows = forget_rows
        check_parts(method, config, forget_rows, self.accelerator.num_processes)
        device = self.accelerator.device
        self.networks = {name: d.to(device) for name, d in networks.items()}
        for denoiser in self.networks.values():
            if config.channels_last:
                denoiser.network.to(memory_format=torch.channels_last)  # pyright: ignore
            if config.gradient_checkpointing:  # a gradient may pass through frozen ones too
                denoiser.network.enable_gradient_checkpointing()  # pyright: ignore
        # The copies come first: Accelerate changes the forward of what it prepares.
        delivered = self.networks[method.delivers].network
        self.average = MovingAverage(delivered, config.ema_decay, config.ema_ramp)
        self._trained = {phase: self._prepare(phase) for phase in method.phases}
        self._views = {phase: self._view(phase) for phase in method.phases}
        self._rules = {phase: method.rule(phase) for phase in method.phases}
        if config.compile:
            for denoiser in self.networks.values():
                denoiser.network.compile()
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.guard: CollapseGuard | None = None
        self.stopper: Stopper | None = None
        self.guard_log: list[dict[str, float]] = []
        self._seconds_before = 0.0  # spent before the checkpoint that was resumed from
        self._began = time.perf_counter()

    @functools.cached_property
    def last_good(self) -> MovingAverage:
        """What a collapsed run goes back to; made when a guard first needs it."""
        return MovingAverage(self.average.module, 0.0, False)

    def objects(self) -> dict[str, Stateful]:
        """Everything a resumed run needs, by name."""
        objects: dict[str, Stateful] = {"average": self.average}
        for phase, trained in self._trained.items():
            objects[phase] = ModuleState(trained.raw)
            objects[f"{phase}_optimizer"] = OptimizerState(trained.optimizer)
            if self._rules[phase].tensors():
                objects[f"{phase}_rule"] = self._rules[phase]
        if self.guard is not None:
            objects |= {"guard": self.guard, "last_good": self.last_good}
        return objects

    def run(
        self, resume: bool = False, on_step: Callable[[int], None] | None = None
    ) -> TrainResult:
        """Train to the end, from the latest checkpoint if `resume`. Raises RunError."""
        config, main = self.config, self.accelerator.is_main_process
        start = self._resume() if resume else 0
        self._began = time.perf_counter() - self._seconds_before
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(Bar("training", config.steps, start, hidden=not main))
            tracking = None
            if main:
                tracking = Tracking(self.folder, config.tracker, start)
                stack.callback(tracking.close)
            step, collapsed = start, self._guarded(0) if start == 0 else None
            stopped = self._stopped(start)
            while step < config.steps and collapsed is None and stopped is None:
                values = self._step(step)
                step += 1
                if tracking and (step % config.log_every == 0 or step == config.steps):
                    speed = step * self._rows() / self._seconds()
                    tracking.log(step, values | {"images_per_second": speed})
                bar.advance(note=_note(values))
                collapsed, stopped = self._guarded(step), self._stopped(step)
                if step % config.checkpoint_every == 0 or step == config.steps or stopped:
                    self._save(step)
                if on_step is not None:
                    on_step(step)
        return self._result(step, self._seconds(), collapsed, stopped)

    def _seconds(self) -> float:
        """Time spent training, before the checkpoint that was resumed from too."""
        return time.perf_counter() - self._began

    def _step(self, step: int) -> dict[str, float]:
        config, accelerator = self.config, self.accelerator
        world, rank = accelerator.num_processes, accelerator.process_index
        shards = [
            Shard(micro * world + rank, config.accumulation * world)
            for micro in range(config.accumulation)
        ]
        batches = [self.source.batch(step, shard) for shard in shards]
        memos: list[dict[str, Tensor]] = [{} for _ in shards]
        values: dict[str, float] = {}
        for phase in self.method.phases:
            trained = self._trained[phase]
            self._activate(phase)
            trained.optimizer.zero_grad(set_to_none=True)
            rule = self._rules[phase]
            pair = GradientPair(trained.parameters) if rule.separate else None
            losses, logs = [], []
            for micro, (shard, batch) in enumerate(zip(shards, batches, strict=True)):
                sides = (batch.retain.size, batch.forget.size)
                seed = derive_seed(config.seed, phase, step)
                ctx = StepContext(
                    step=step,
                    steps=config.steps,
                    batch=batch,
                    rng=RowRandom(seed, shard, sides, accelerator.device),
                    networks=self._views[phase],
                    bank=self.source.bank,
                    memo=memos[micro],
                )
                torch.manual_seed(derive_seed(seed, shard.index))  # what dropout draws from
                # A pair is reduced across processes once, at its end.
                synced = micro == len(shards) - 1 and pair is None
                sync = contextlib.nullcontext() if synced else accelerator.no_sync(trained.wrapped)
                with sync:
                    # Not Accelerate's own: that is fixed for a whole process.
                    with torch.autocast(
                        accelerator.device.type, torch.bfloat16, config.mixed_precision == "bf16"
                    ):
                        terms = self.method.loss(phase, ctx)
                    if pair is None:
                        accelerator.backward(terms.total / config.accumulation)
                    else:
                        pair.backward(terms, 1 / config.accumulation)
                losses.append(_numbers(terms) / config.accumulation)
                logs.append(terms.logs)
            noted = self._noted(logs)
            if pair is not None:
                noted |= pair.combine(rule, noted, accelerator)
            values |= self._update(phase, step, torch.stack(losses).sum(0))
            values |= {f"{phase}_{name}": value for name, value in noted.items()}
        self.average.update(step)
        return values

    def _noted(self, logs: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
        """A method's own numbers, means over the parts of a step and over processes."""
        if not logs[0]:
            return {}
        names = sorted(logs[0])
        means = torch.stack([torch.stack([part[n] for n in names]) for part in logs]).mean(0)
        if self.accelerator.num_processes > 1:
            means = cast(Tensor, self.accelerator.reduce(means.float(), "mean"))
        return dict(zip(names, means.tolist(), strict=True))

    def _update(self, phase: str, step: int, losses: Tensor) -> dict[str, float]:
        """Clip and step, unless something is not finite: then RunError before the update."""
        trained, config = self._trained[phase], self.config
        gradients = [p.grad for p in trained.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        numbers = torch.cat([losses, norm.detach().view(1)])
        if self.accelerator.num_processes > 1:
            numbers = cast(Tensor, self.accelerator.reduce(numbers, "mean"))
        retain, forget, norm_value = numbers.tolist()
        named = {"retain loss": retain, "forget loss": forget, "gradient norm": norm_value}
        for name, value in named.items():
            if not math.isfinite(value):
                raise RunError(
                    f"the {name} of {phase} is {value} at step {step}: the weights were not "
                    "updated and the last checkpoint is good. Lower train.learning_rate or set "
                    "train.clip_norm, then start anew."
                )
        if config.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(trained.parameters, config.clip_norm, norm)
        if config.clip_value is not None:
            torch.nn.utils.clip_grad_value_(trained.parameters, config.clip_value)
        for group in trained.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step) * trained.rate
        trained.optimizer.step()
        return {
            f"{phase}_retain_loss": retain,
            f"{phase}_forget_loss": forget,
            f"{phase}_gradient_norm": norm_value,
        }

    def _activate(self, phase: str) -> None:
        """Gradient and train mode for the phase's networks, neither for the others."""
        active = self.method.active(phase)
        for name, trained in self._trained.items():
            wanted = name in active
            if trained.raw.training != wanted:
                # As `train` and `requires_grad_` do, without walking the module tree every time.
                for module in trained.modules:
                    module.training = wanted
                for parameter in trained.parameters:
                    parameter.requires_grad = wanted

    def _guarded(self, step: int) -> str | None:
        config = self.config
        if self.guard is None or not config.guard_every:
            return None
        if step % config.guard_every and step != config.steps:
            return None
        student = self.networks[self.method.delivers].with_network(self.average.module)
        check = self.guard.check(student)
        self.guard_log.append({"step": step, "distance": check.distance})
        if check.good:
            self.last_good.update(step)
        if not check.collapsed:
            return None
        self.average.restore(self.last_good.tensors())
        return (
            f"collapse at step {step}: samples for retained conditions moved away from the "
            f"untouched model's (energy distance {check.distance:.3g}, best "
            f"{self.guard.best:.3g}). The last good weights were kept. Lower train.learning_rate."
        )

    def _stopped(self, step: int) -> str | None:
        every = self.config.stop_every
        if self.stopper is None or not every or step % every:
            return None
        student = self.networks[self.method.delivers].with_network(self.average.module)
        reason = self.stopper.check(student)
        return reason and f"The run stopped at step {step}: {reason}."

    def _prepare(self, phase: str) -> _Trained:
        config = self.config
        raw = self.networks[phase].network
        raw.train().requires_grad_(True)
        wrapped = self.accelerator.prepare_model(raw)
        parameters = [p for p in raw.parameters() if p.requires_grad]
        rate = self.method.learning_rate_ratio(phase)
        optimizer = torch.optim.AdamW(
            parameters,
            lr=config.learning_rate * rate,
            betas=(config.beta1, config.beta2),
            eps=config.adam_eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
        return _Trained(
            raw=raw,
            wrapped=wrapped,
            modules=list(raw.modules()),
            parameters=parameters,
            optimizer=optimizer,
            rate=rate,
        )

    def _view(self, phase: str) -> dict[str, Denoiser]:
        """Networks as this phase sees them: wrapped where they carry gradient."""
        view = dict(self.networks)
        for name in self.method.active(phase):
            view[name] = view[name].with_network(self._trained[name].wrapped)
        return view

    def _rows(self) -> int:
        return self.config.batch_size + self.forget_rows

    def _save(self, step: int) -> None:
        if self.accelerator.is_main_process:
            extra = {"guard_log": self.guard_log, "seconds": self._seconds()}
            self.checkpoints.save(step, self.objects(), extra)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> int:
        latest = self.checkpoints.latest()
        if latest is None:
            return 0
        state: dict[str, Any] = self.checkpoints.restore(latest, self.objects())
        self.guard_log = state["guard_log"]
        self._seconds_before = state["seconds"]
        return int(state["step"])

    def _result(
        self, step: int, seconds: float, collapsed: str | None, stopped: str | None
    ) -> TrainResult:
        delivered = self.networks[self.method.delivers]
        return TrainResult(
            denoiser=delivered.with_network(self.average.module),
            networks=self.networks,
            steps=step,
            seconds=seconds,
            images_per_second=step * self._rows() / seconds,
            collapsed=collapsed,
            stopped=stopped,
            guard=self.guard_log,
        )


def _numbers(terms: LossTerms) -> Tensor:
    """(2,): the retain and the forget loss."""
    forget = terms.retain.new_zeros(()) if terms.forget is None else terms.forget
    return torch.stack([terms.retain, forget]).detach()


def _note(values: Mapping[str, float]) -> str:
    """Retain and forget loss of every phase, short enough for a terminal's line."""
    phases = [key.removesuffix("_retain_loss") for key in values if key.endswith("_retain_loss")]
    return "  ".join(
        f"{phase} {values[f'{phase}_retain_loss']:.3g}/{values[f'{phase}_forget_loss']:.3g}"
        for phase in phases
    )
