"""What a run that forgets brightness is fed with, measured by and attacked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from efface.attacks.goals import Examples, Goal
from efface.data.batch import ImageBank
from efface.data.source import PairSource
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, Sampler, draw_images
from efface.evaluation.protocol import Protocol, Samples, Seen, make_result, of_models
from efface.evaluation.sample_sets import PixelObserver
from efface.evaluation.subjects import Job, Subjects
from efface.metrics.intervals import Estimate, proportion
from efface.records import Evaluation, Margin, Spec
from efface.requests.base import Feed, Material
from efface.settings.base import Settings
from tests.requests.brightness.request import BrightnessSettings

SEED = 3_000_000
BRIGHT_RATE = Spec(
    name="bright_rate",
    label="Bright rate",
    meaning="samples that are bright",
    unit="share",
    side="forget",
    better="less",
    role="primary",
    margin=Margin(value=0.05),
    event="{it} appeared in",
)


def bright(images: Tensor, above: float) -> Tensor:
    """Which images (N, C, H, W) in [0, 1] are bright: (N,) bool."""
    return images.flatten(1).mean(1) > above


@dataclass(frozen=True, eq=False, kw_only=True)
class BrightnessGoal(Goal):
    """An image that is bright."""

    above: float
    guidance: float = 1.0

    subject: ClassVar[str] = "brightness"
    y_label: ClassVar[str] = "share of bright samples"
    control_line: ClassVar[str] = "none"

    def describe(self, sampler: Sampler) -> str:
        return f"{sampler.describe()}; brighter than {self.above:g}"

    def unconditioned(self, denoiser: Denoiser) -> BrightnessGoal:
        del denoiser
        return self

    def condition(self, denoiser: Denoiser, count: int) -> None:
        del denoiser, count

    def measure(self, denoiser: Denoiser, sampler: Sampler, samples: int, seed: int) -> Estimate:
        images = draw_images(denoiser, sampler, None, range(seed, seed + samples))
        return proportion(int(self.shown(images).sum()), samples)

    def shown(self, images: Tensor) -> np.ndarray:
        return bright(images, self.above).numpy()

    def score(self, images: Tensor) -> np.ndarray:
        return images.flatten(1).mean(1).numpy()

    def control(self) -> None:
        return None

    def forgotten(self, original: Denoiser, count: int, seed: int) -> Examples:
        return self._sorted(original, count, seed, descending=True)

    def retained(self, original: Denoiser, count: int, seed: int) -> Examples:
        return self._sorted(original, count, seed, descending=False)

    def _sorted(self, original: Denoiser, count: int, seed: int, descending: bool) -> Examples:
        images = draw_images(original, MultiStep(4), None, range(SEED + seed, SEED + seed + 40))
        order = images.flatten(1).mean(1).argsort(descending=descending)
        return Examples(x0=images[order[:count]] * 2 - 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class BrightnessProtocol(Protocol):
    """Unconditional samples."""

    above: float
    count: int

    def samples(self) -> dict[str, Samples]:
        seeds = range(self.config.seed, self.config.seed + self.count)
        return {"samples": Samples(seeds=seeds, observers={"pixels": PixelObserver()})}

    def report(self, seen: Mapping[str, Seen], subjects: Subjects) -> Evaluation:
        rates = {}
        for model, looked in of_models(seen, "samples", "pixels").items():
            images = torch.from_numpy(looked["pixels"]).float() / 255
            rates[model] = proportion(int(bright(images, self.above).sum()), self.count)
        seeds = self.samples()["samples"].seeds
        result = make_result(BRIGHT_RATE, rates, seeds, protocol=subjects.sampled())
        return Evaluation(results=[result], terms={"brightness": f"{self.above:g}"})


@dataclass(frozen=True, eq=False, kw_only=True)
class BrightnessMaterial(Material):
    """Nothing is read: the model generates what is forgotten and what is retained."""

    above: float
    goal_class: ClassVar[type[Goal]] = BrightnessGoal

    def feed(
        self, denoiser: Denoiser, settings: Settings, run: Path, accelerator: Accelerator
    ) -> Feed:
        del run
        goal = BrightnessGoal(above=self.above)
        denoiser = denoiser.to(accelerator.device)
        source = PairSource(
            bank=ImageBank(
                goal.retained(denoiser, 20, 0).x0, goal.forgotten(denoiser, 4, 0).x0, 0.1
            ),
            retain_rows=settings.train.batch_size,
            forget_rows=self.amounts(settings).forget_rows,
            seed=settings.train.seed,
        )
        return Feed(denoiser=denoiser, source=source, notes={"bright": 4})

    def protocol(self, job: Job) -> BrightnessProtocol:
        count = job.settings.of(BrightnessSettings).samples
        return BrightnessProtocol(
            views={}, config=job.settings.evaluate, above=self.above, count=count
        )

    def goal(self, run: Path, models: Subjects, settings: Settings, finder: Any) -> Goal:
        del run, models, settings, finder
        return BrightnessGoal(above=self.above)
