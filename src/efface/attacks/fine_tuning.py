"""Fine-tuning a copy of a model, with measurements on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from torch import Tensor

from efface.attacks.base import Case, Counts, SamplingAttack, Subject, point
from efface.attacks.goals import Examples
from efface.data.batch import Batch, Side
from efface.data.randomness import Shard
from efface.data.source import BatchSource, epoch_rows
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import OneStep
from efface.records import Point
from efface.training.denoising import Denoising
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer


@dataclass(frozen=True, eq=False, kw_only=True)
class ExampleSource(BatchSource):
    """Examples, every one once per epoch in a new order."""

    x0: Tensor  # (N, C, H, W) in model space
    condition: Condition | None  # N rows
    rows: int
    seed: int

    def batch(self, step: int, shard: Shard) -> Batch:
        index = epoch_rows(len(self.x0), self.rows, step, self.seed, "examples")
        index = index[shard.rows(self.rows)].to(self.x0.device)
        condition = None if self.condition is None else self.condition[index]
        side = Side(size=len(index), x0=self.x0[index], condition=condition, target=condition)
        return Batch(retain=side, forget=Side(size=0))


class FineTuningAttack(SamplingAttack):
    """Base of the attacks that train the model: the denoising loss at all timesteps, all weights.

    A one-step generator has the architecture of the model it was made from, so it is trained in
    the same way on that model's whole schedule, and sampled both in one step and in many.
    """

    steps: Counts = Field(
        default=(5, 10, 20, 50), description="Steps of fine-tuning after which a model is sampled."
    )
    batch_size: int = Field(default=32, ge=1, le=100_000, description="Rows of one step.")
    learning_rate: float = Field(default=5e-4, gt=0, le=10, description="Learning rate of AdamW.")

    def describe(self, case: Case, data: str) -> str:
        return (
            f"{data}, {self.batch_size} rows a step, AdamW at {self.learning_rate:g}; "
            f"{self.describe_samples(case)}"
        )

    def lines(
        self, case: Case, name: str, subject: Subject, examples: Examples
    ) -> dict[str, list[Point]]:
        """A curve per way of sampling while a copy of the subject is trained on the examples."""
        samplers = {"": self.sampler_of(case, subject)}
        if isinstance(subject.sampler, OneStep):
            samplers["_multi_step"] = self.multi_step(case)
        curves: dict[str, list[Point]] = {name + way: [] for way in samplers}

        def measure(step: int, denoiser: Denoiser) -> None:
            for way, sampler in samplers.items():
                found = self.measure_goal(case.goal, denoiser, sampler)
                curves[name + way].append(point(step, found))

        measure(0, subject.denoiser)
        self._fine_tune(subject.denoiser, examples, measure)
        return curves

    def _fine_tune(
        self, denoiser: Denoiser, examples: Examples, measure: Callable[[int, Denoiser], None]
    ) -> None:
        last = self.steps[-1]
        settings = TrainSettings.model_validate(
            {
                "steps": last,
                "batch_size": self.batch_size,
                "learning_rate": self.learning_rate,
                "seed": self.seed,
                "clip_norm": 1.0,
                "ema_decay": 0.0,
                "checkpoint_every": last,
                "log_every": last,
            }
        )
        source = ExampleSource(
            x0=examples.x0.to(denoiser.device),
            condition=examples.encode(denoiser),
            rows=self.batch_size,
            seed=self.seed,
        )
        with tempfile.TemporaryDirectory(prefix="efface-attack-") as folder:
            method = Denoising(condition_dropout=0.0)
            trainer = Trainer(method, method.networks(denoiser), source, settings, Path(folder))

            def on_step(step: int) -> None:
                if step in self.steps:
                    measure(step, trainer.networks[method.delivers])

            trainer.run(on_step=on_step)
