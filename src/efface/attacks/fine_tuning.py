"""Fine-tuning a copy of a model, with a look at it every few steps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from efface.attacks.base import Attack, Case, Subject, point
from efface.attacks.goals import Examples
from efface.data.batch import Batch, Side
from efface.data.randomness import Shard
from efface.data.source import BatchSource, epoch_rows
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import OneStep
from efface.training.denoising import Denoising
from efface.records import Point
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer


@dataclass(frozen=True, eq=False, kw_only=True)
class ExampleSource(BatchSource):
    """Examples in model space, every one once per epoch in a new order."""

    examples: Examples
    condition: Condition | None  # one row per example
    rows: int
    seed: int

    def batch(self, step: int, shard: Shard) -> Batch:
        index = epoch_rows(len(self.examples), self.rows, step, self.seed, "examples")
        index = index[shard.rows(self.rows)].to(self.examples.x0.device)
        asked = None if self.condition is None else self.condition[index]
        x0 = self.examples.x0[index]
        side = Side(size=len(x0), x0=x0, condition=asked, target=asked)
        return Batch(retain=side, forget=Side(size=0))


@dataclass(frozen=True, kw_only=True)
class FineTuningAttack(Attack):
    """Base of the attacks that train the model: the denoising loss at all timesteps, all weights.

    A one-step generator has the architecture of the model it was made from, so it is trained in
    the same way on that model's whole schedule, and sampled both in one step and in many.
    """

    steps: tuple[int, ...] = (5, 10, 20, 50)  # at which it is measured, and at 0
    batch_size: int = 32
    learning_rate: float = 5e-4

    def describe(self, case: Case, data: str) -> str:
        return (
            f"{data}, {self.batch_size} rows a step, AdamW at {self.learning_rate:g}; "
            f"{self.sampled(case)}"
        )

    def lines(
        self, case: Case, name: str, subject: Subject, examples: Examples
    ) -> dict[str, list[Point]]:
        """A curve per way of sampling while a copy of the subject is trained on the examples."""
        samplers = {"": self.own_sampler(case, subject)}
        if isinstance(subject.sampler, OneStep):
            samplers["_multi_step"] = self.many_steps(case)
        curves: dict[str, list[Point]] = {name + view: [] for view in samplers}

        def look(step: int, denoiser: Denoiser) -> None:
            for view, sampler in samplers.items():
                curves[name + view].append(point(step, self.plain(case, denoiser, sampler)))

        look(0, subject.denoiser)
        self._fine_tune(subject.denoiser, examples, look)
        return curves

    def _fine_tune(
        self, denoiser: Denoiser, examples: Examples, look: Callable[[int, Denoiser], None]
    ) -> None:
        last = self.steps[-1]
        config = TrainSettings(
            steps=last,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self.seed,
            clip_norm=1.0,
            ema_decay=0.0,
            checkpoint_every=last,
            log_every=last,
        )
        examples = Examples(x0=examples.x0.to(denoiser.device), asked=examples.asked)
        source = ExampleSource(
            examples=examples,
            condition=examples.condition(denoiser),
            rows=self.batch_size,
            seed=self.seed,
        )
        with tempfile.TemporaryDirectory(prefix="efface-attack-") as folder:
            method = Denoising(condition_dropout=0.0)
            trainer = Trainer(method, method.networks(denoiser), source, config, Path(folder))

            def on_step(step: int) -> None:
                if step in self.steps:
                    look(step, trainer.networks[method.delivers])

            trainer.run(on_step=on_step)
