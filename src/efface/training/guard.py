"""The collapse guard (samples still like the teacher's?), and when enough is forgotten."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import MultiStep, Sampler, draw_images
from efface.errors import ModelError

SPREAD_TOLERANCE = 0.25  # of the teacher's; a recipe in few steps has 0.85, a long one 0.95
GUARD_SEED = 7_000_000  # far from the seeds of training and evaluation
SAMPLES_PER_CONDITION = 16
MAX_CONDITIONS = 10


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """(2 E|x-y| - E|x-x'| - E|y-y'|) / E|y-y'| for samples (N, D) and (M, D); unbiased.

    About 0 for samples of one distribution and about 2 for far-apart ones (Szekely & Rizzo, 2013).
    """
    within_x, within_y = spread(x), spread(y)
    return (2 * torch.cdist(x, y).mean() - within_x - within_y) / within_y.clamp_min(1e-12)


def spread(x: Tensor) -> Tensor:
    """Mean distance between two of the samples (N, D); unbiased."""
    return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))


@dataclass(frozen=True, eq=False, kw_only=True)
class Check:
    """One comparison with the teacher's samples."""

    distance: float  # energy distance
    spread: float  # of samples under one condition, over that of the teacher's
    good: bool  # both near their best: worth keeping
    collapsed: str | None  # what became of the samples


class CollapseGuard:
    """Compares a few samples per retained condition with the teacher's: where, and how varied.

    A student starts some way from the teacher's samples and comes nearer, so the measure is the
    best so far, from before the first step on: a run has collapsed when `patience` checks in a row
    lie more than `tolerance` above the smallest energy distance, or more than `SPREAD_TOLERANCE`
    below the largest spread (that of the teacher at most). Distances are relative to the teacher's
    spread: on digits the untrained student is at 0.1, a good one at 0.01, and one that generates a
    single grey image at 4.8.
    """

    def __init__(
        self,
        teacher: Denoiser,
        sampler: Sampler,
        conditions: Condition | None,
        tolerance: float = 0.1,
        patience: int = 2,
        teacher_steps: int = 20,
    ) -> None:
        groups = 1 if conditions is None else min(len(conditions), MAX_CONDITIONS)
        count = groups * SAMPLES_PER_CONDITION
        self._rows = None
        if conditions is not None:
            spread = torch.linspace(0, len(conditions) - 1, groups).round().long()
            self._rows = conditions[spread.repeat_interleave(SAMPLES_PER_CONDITION)]
        self._groups = groups
        self._seeds = [GUARD_SEED + i for i in range(2 * count)]
        self._sampler = sampler
        self._tolerance = tolerance
        self._patience = patience
        many_steps = MultiStep.within(teacher, teacher_steps)
        self._reference = self._sample(teacher, many_steps, self._seeds[count:])
        self.best, self.widest = float("inf"), 0.0
        self._bad = 0

    def check(self, student: Denoiser) -> Check:
        """Compare the student's samples with the teacher's, and remember the best."""
        distance, wide = self._compare(student)
        # Written so that what is not a number counts as bad.
        near = distance <= self.best + self._tolerance
        varied = wide >= self.widest - SPREAD_TOLERANCE
        self._bad = 0 if near and varied else self._bad + 1
        if near and varied:
            self.best, self.widest = min(self.best, distance), min(1.0, max(self.widest, wide))
        good = (
            distance <= self.best + self._tolerance / 2
            and wide >= self.widest - SPREAD_TOLERANCE / 2
        )
        what = None
        if self._bad >= self._patience and not near:
            what = (
                f"moved away from the original model's (energy distance {distance:.3g}, best "
                f"{self.best:.3g})"
            )
        elif self._bad >= self._patience:
            what = (
                f"lost variety (spread {wide:.2f} of the original model's, best {self.widest:.2f})"
            )
        return Check(distance=distance, spread=wide, good=good, collapsed=what)

    def _compare(self, student: Denoiser) -> tuple[float, float]:
        """Energy distance and relative spread, means over conditions; NaN for broken samples."""
        try:
            samples = self._sample(student, self._sampler, self._seeds[: len(self._seeds) // 2])
        except ModelError:
            return float("nan"), float("nan")
        pairs = list(zip(samples, self._reference, strict=True))
        distances = [energy_distance(x, y) for x, y in pairs]
        spreads = [spread(x) / spread(y).clamp_min(1e-12) for x, y in pairs]
        return float(torch.stack(distances).mean()), float(torch.stack(spreads).mean())

    def _sample(self, denoiser: Denoiser, sampler: Sampler, seeds: list[int]) -> Tensor:
        """(groups, samples, D)"""
        modes = [(m, m.training) for m in denoiser.network.modules()]
        images = draw_images(denoiser, sampler, self._rows, seeds)
        for module, training in modes:
            module.training = training
        return images.flatten(1).view(self._groups, SAMPLES_PER_CONDITION, -1)

    def tensors(self) -> dict[str, Tensor]:
        return {
            "best": torch.tensor(self.best, dtype=torch.float64),
            "widest": torch.tensor(self.widest, dtype=torch.float64),
            "bad": torch.tensor(self._bad),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.best, self.widest = float(tensors["best"]), float(tensors["widest"])
        self._bad = int(tensors["bad"])


class Stopper(Protocol):
    """Measures the averaged student every `train.stop_every` steps, and before the first."""

    def check(self, student: Denoiser) -> str | None:
        """A sentence if the run should stop."""
        ...


@dataclass(frozen=True)
class Measure:
    """How well images are predicted: lower is better."""

    name: str
    of: Callable[[Denoiser, Tensor], float]  # mean over images in model space, on one noise
    images: int  # unseen ones, at most


class UnseenStopper:
    """Compares how well the images to forget are predicted with unseen images.

    Of several sets to forget, the one that is predicted best. Nothing is remembered: a resumed run
    stops where an uninterrupted one does. More forgetting than of unseen images is not better.
    """

    def __init__(self, measure: Measure, forget: Sequence[Tensor], unseen: Tensor) -> None:
        spread = torch.linspace(0, len(unseen) - 1, min(measure.images, len(unseen))).long()
        self._measure, self._forget = measure, forget
        self._unseen = unseen[spread.to(unseen.device)]

    def check(self, student: Denoiser) -> str | None:
        """A sentence if the run should stop."""
        forget = min(self._measure.of(student, images) for images in self._forget)
        unseen = self._measure.of(student, self._unseen)
        if forget < unseen:
            return None
        return (
            "the images to forget are predicted no better than unseen images "
            f"({self._measure.name} {forget:.4g} against {unseen:.4g})"
        )
