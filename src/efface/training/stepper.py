"""One step of training: gradients of every phase over all parts of a batch, and the updates."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from efface.data.batch import Batch
from efface.data.randomness import RowRandom, Shard, derive_seed
from efface.data.source import BatchSource
from efface.diffusion.denoiser import Denoiser
from efface.errors import RunError
from efface.methods.base import LossTerms, Method, StepContext
from efface.training.checkpoint import ModuleState, OptimizerState, Stateful, TensorState
from efface.training.phase import GradientPair, Phase, make_phase
from efface.training.processes import from_main, mean_over_processes
from efface.training.settings import TrainSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """An equal part of a step's batch: what one process passes at once."""

    shard: Shard
    batch: Batch
    memo: dict[str, Tensor] = field(default_factory=dict)


class Stepper:
    """Updates the networks of a method's phases, batch by batch."""

    def __init__(
        self,
        method: Method,
        networks: Mapping[str, Denoiser],
        source: BatchSource,
        settings: TrainSettings,
        accelerator: Accelerator,
    ) -> None:
        self._method, self._networks, self._source = method, networks, source
        self._settings, self._accelerator = settings, accelerator
        self.phases = {
            name: make_phase(
                name,
                networks[name].network,
                method.learning_rate_ratio(name),
                settings,
                accelerator,
            )
            for name in method.phases
        }
        self._views = {name: self._view(name) for name in method.phases}
        self._rules = {name: method.rule(name) for name in method.phases}
        self._prepared = TensorState(accelerator.device)

    def objects(self) -> dict[str, Stateful]:
        """Everything a resumed run needs, by name."""
        objects: dict[str, Stateful] = {"prepared": self._prepared}
        for name, phase in self.phases.items():
            objects[name] = ModuleState(phase.raw)
            objects[f"{name}_optimizer"] = OptimizerState(phase.optimizer)
            objects[f"{name}_rule"] = self._rules[name]
        return objects

    def prepare(self) -> None:
        """Run the method's pre-pass; its result is the main process's on every process."""
        prepared = self._method.prepare(self._pre_pass())
        for phase in self.phases.values():
            phase.optimizer.zero_grad(set_to_none=True)
            phase.activate(False)
        tensors = {name: tensor.detach() for name, tensor in prepared.items()}
        self._prepared.restore(from_main(self._accelerator, tensors))

    def set_masks(self) -> None:
        """Ask the method which weights each phase may update, once its pre-pass is there."""
        for name, phase in self.phases.items():
            phase.set_masks(self._method.update_mask(name, self._prepared.tensors()))

    def step(self, step: int) -> dict[str, float]:
        """Update every phase's network once, in order; returns what is logged.

        Raises RunError where something is not finite.
        """
        parts = self._parts(step)
        self._method.edit(self._context(step, parts[0], self._networks, "edit", step))
        values: dict[str, float] = {}
        for phase in self._method.phases:
            self.activate(phase)
            with self._inner_weights(phase, step, parts):
                losses, logs, pair = self._gradients(phase, step, parts)
            means = self._means(logs)
            if pair is not None:
                means |= pair.combine(self._rules[phase], means, self._accelerator)
            values |= self._update(phase, step, losses)
            values |= {f"{phase}_{name}": value for name, value in means.items()}
        return values

    def activate(self, phase: str) -> None:
        """Gradient and train mode for the phase's networks, neither for the others."""
        active = self._method.active(phase)
        for name, trained in self.phases.items():
            if trained.raw.training != (name in active):
                trained.activate(name in active)

    def _view(self, phase: str) -> dict[str, Denoiser]:
        """Networks as this phase sees them: wrapped where they carry gradient."""
        view = dict(self._networks)
        for name in self._method.active(phase):
            view[name] = view[name].with_network(self.phases[name].wrapped)
        return view

    def _parts(self, step: int) -> list[Part]:
        """Parts of the batch that are passed in this process."""
        world, rank = self._accelerator.num_processes, self._accelerator.process_index
        count = self._settings.accumulation
        shards = [Shard(micro * world + rank, count * world) for micro in range(count)]
        return [Part(shard=shard, batch=self._source.batch(step, shard)) for shard in shards]

    def _context(
        self, step: int, part: Part, networks: Mapping[str, Denoiser], *purpose: str | int
    ) -> StepContext:
        """What a loss reads; its noise, and the dropout of networks, are those of a `purpose`."""
        seed = derive_seed(self._settings.seed, *purpose)
        torch.manual_seed(derive_seed(seed, part.shard.index))  # what dropout is sampled with
        sides = (part.batch.retain.size, part.batch.forget.size)
        return StepContext(
            step=step,
            steps=self._settings.steps,
            batch=part.batch,
            rng=RowRandom(seed, part.shard, sides, self._accelerator.device),
            networks=networks,
            bank=self._source.bank,
            words=self._source.words,
            memo=part.memo,
            prepared=self._prepared.tensors(),
        )

    def _gradients(
        self, phase: str, step: int, parts: Sequence[Part]
    ) -> tuple[Tensor, list[Mapping[str, Tensor]], GradientPair | None]:
        """Gradients of a loss over all parts; returns (2,) losses, logs, and the pair if apart."""
        trained = self.phases[phase]
        trained.optimizer.zero_grad(set_to_none=True)
        pair = GradientPair(trained.parameters) if self._rules[phase].separate else None
        losses, logs = [], []
        for number, part in enumerate(parts, start=1):
            ctx = self._context(step, part, self._views[phase], phase, step)
            # A pair is reduced across processes once, at its end.
            with self._synced(trained, number == len(parts) and pair is None):
                with self._autocast():
                    terms = self._method.loss(phase, ctx)
                if pair is None:
                    self._accelerator.backward(terms.total / len(parts))
                else:
                    pair.backward(terms, 1 / len(parts))
            losses.append(_numbers(terms) / len(parts))
            logs.append(terms.logs)
        return torch.stack(losses).sum(0), logs, pair

    @contextlib.contextmanager
    def _inner_weights(self, phase: str, step: int, parts: Sequence[Part]) -> Iterator[None]:
        """The weights that the method's inner steps lead to, for as long as the block lasts."""
        inner, trained = self._method.inner(phase), self.phases[phase]
        if inner is None:
            yield
            return
        with weights_restored(trained.parameters):
            for number in range(inner.count):
                trained.optimizer.zero_grad(set_to_none=True)
                for part in parts:
                    ctx = self._context(
                        step, part, self._views[phase], phase, step, "inner", number
                    )
                    with self._synced(trained, False):
                        with self._autocast():
                            loss = self._method.inner_loss(phase, ctx)
                        self._accelerator.backward(loss / len(parts))
                descend(trained.parameters, inner.learning_rate, self._accelerator)
            yield

    def _pre_pass(self) -> Iterator[StepContext]:
        """All parts of batch after batch, without end."""
        for phase in self.phases.values():
            phase.activate(True, training=False)
        count = self._settings.accumulation * self._accelerator.num_processes
        for step in itertools.count():
            for index in range(count):
                shard = Shard(index, count)
                part = Part(shard=shard, batch=self._source.batch(step, shard))
                yield self._context(step, part, self._networks, "prepare", step)

    def _synced(self, trained: Phase, synced: bool) -> AbstractContextManager[None]:
        """Whether a backward pass reduces gradients over processes."""
        if synced:
            return contextlib.nullcontext()
        return self._accelerator.no_sync(trained.wrapped)

    def _autocast(self) -> torch.autocast:
        # Not Accelerate's own: that is fixed for a whole process.
        enabled = self._settings.mixed_precision == "bf16"
        return torch.autocast(self._accelerator.device.type, torch.bfloat16, enabled)

    def _means(self, logs: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
        """A method's own numbers, means over the parts of a step and over processes."""
        if not logs[0]:
            return {}
        names = sorted(logs[0])
        means = torch.stack([torch.stack([part[n] for n in names]) for part in logs]).mean(0)
        means = mean_over_processes([means.float()], self._accelerator)[0]
        return dict(zip(names, means.tolist(), strict=True))

    def _update(self, phase: str, step: int, losses: Tensor) -> dict[str, float]:
        """Clip and step, unless something is not finite: then RunError before the update."""
        trained, settings = self.phases[phase], self._settings
        gradients = [p.grad for p in trained.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        numbers = torch.cat([losses, norm.detach().view(1)])
        numbers = mean_over_processes([numbers], self._accelerator)[0]
        retain, forget, norm_value = numbers.tolist()
        named = {"retain loss": retain, "forget loss": forget, "gradient norm": norm_value}
        for name, value in named.items():
            if not math.isfinite(value):
                if step == 0 and phase == self._method.phases[0]:
                    raise RunError(
                        f"the {name} of {phase} is {value} at step 0, before any weight was "
                        f"changed: {self._networks[phase].source} is broken, or was saved with "
                        "another configuration. Look at what `efface sample` makes of it."
                    )
                raise RunError(
                    f"the {name} of {phase} is {value} at step {step}: the weights were not "
                    "updated and the last checkpoint is good. Lower train.learning_rate or set "
                    "train.clip_norm, then start anew."
                )
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(trained.parameters, settings.clip_norm, norm)
        if settings.clip_value is not None:
            torch.nn.utils.clip_grad_value_(trained.parameters, settings.clip_value)
        trained.update(settings.learning_rate_at(step))
        return {
            f"{phase}_retain_loss": retain,
            f"{phase}_forget_loss": forget,
            f"{phase}_gradient_norm": norm_value,
        }


def _numbers(terms: LossTerms) -> Tensor:
    """(2,): the retain and the forget loss."""
    forget = terms.retain.new_zeros(()) if terms.forget is None else terms.forget
    return torch.stack([terms.retain, forget]).detach()


@contextmanager
def weights_restored(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Whatever becomes of the weights inside, afterwards they are what they were, bit for bit."""
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in zip(parameters, before, strict=True):
                parameter.copy_(weights)


@torch.no_grad()
def descend(
    parameters: Sequence[nn.Parameter], learning_rate: float, accelerator: Accelerator
) -> None:
    """One step down the gradients, means over processes, which are gone afterwards."""
    moved = [p for p in parameters if p.grad is not None]
    gradients = [p.grad for p in moved if p.grad is not None]
    for parameter, gradient in zip(moved, mean_over_processes(gradients, accelerator), strict=True):
        parameter.sub_(gradient, alpha=learning_rate)
        parameter.grad = None
