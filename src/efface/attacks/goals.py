"""What an attack looks for, and what an attacker has in hand."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from efface.data.split import distances
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import MultiStep, Sampler, draw_images
from efface.metrics.copy_similarity import denoise_back
from efface.metrics.intervals import Estimate, proportion
from efface.metrics.judge import Judge

EXAMPLE_SEED = 6_000_000  # away from the seeds of training, evaluation and attacks
EXAMPLE_STEPS = 50
CALIBRATION_STEPS = 20
NOISE_SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the schedule


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Pictures in model space (N, C, H, W), with the label that each belongs to."""

    x0: Tensor
    labels: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.x0)

    def first(self, count: int) -> Examples:
        labels = None if self.labels is None else self.labels[:count]
        return Examples(x0=self.x0[:count], labels=labels)

    def condition(self, denoiser: Denoiser) -> Condition | None:
        return None if self.labels is None else denoiser.encode(self.labels)


class Goal(ABC):
    """What counts as the forgotten thing being shown."""

    guidance: float  # of every model that is not sampled in one step
    shows: ClassVar[str]  # label of a curve's axis

    control_line: ClassVar[str]  # what the control is called among a curve's lines

    @abstractmethod
    def describe(self, sampler: Sampler) -> str:
        """How it is measured, in words for a protocol."""

    @abstractmethod
    def labels(self, count: int) -> list[int] | None:
        """What to ask for in `count` samples: labels in turn, or nothing."""

    @abstractmethod
    def measure(self, denoiser: Denoiser, sampler: Sampler, samples: int, seed: int) -> Estimate:
        """Share of tries in which the model, simply asked, shows it; Wilson's interval."""

    @abstractmethod
    def shown(self, images: Tensor) -> np.ndarray:
        """Whether images (N, C, H, W) in [0, 1] show it: (N,) bool."""

    @abstractmethod
    def score(self, images: Tensor) -> np.ndarray:
        """How near images (N, C, H, W) in [0, 1] come to it, (N,): higher is nearer."""

    @abstractmethod
    def control(self) -> Goal | None:
        """What the untouched model never learned, sought in the same way; None if there is none."""

    @abstractmethod
    def forgotten(self, untouched: Denoiser, count: int, seed: int) -> Examples:
        """At most `count` examples of what was to go."""

    @abstractmethod
    def retained(self, untouched: Denoiser, count: int, seed: int) -> Examples:
        """At most `count` examples of what stays, nothing of what was to go among them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassGoal(Goal):
    """The judge sees a sought label in samples that were asked for under `asked`.

    Examples are drawn by the untouched model: no data set is needed.
    """

    judge: Judge
    sought: Sequence[int]
    asked: Sequence[int]
    others: Sequence[int]  # labels that stay
    guidance: float = 1.0

    shows: ClassVar[str] = "share of samples in which the judge sees it"
    control_line: ClassVar[str] = "other_labels"

    def describe(self, sampler: Sampler) -> str:
        return (
            f"asked for the forgotten label, {sampler.describe()} (a one-step generator: its one "
            f"step); judge: {self.judge.name}"
        )

    def labels(self, count: int) -> list[int]:
        return in_turn(self.asked, count)

    def measure(self, denoiser: Denoiser, sampler: Sampler, samples: int, seed: int) -> Estimate:
        condition = denoiser.encode(self.labels(samples))
        images = draw_images(denoiser, sampler, condition, range(seed, seed + samples))
        return proportion(int(self.shown(images).sum()), samples)

    def shown(self, images: Tensor) -> np.ndarray:
        return np.isin(self._probabilities(images).argmax(1), self.sought)

    def score(self, images: Tensor) -> np.ndarray:
        return self._probabilities(images)[:, list(self.sought)].max(1)

    def control(self) -> ClassGoal:
        """Sought among samples of the labels that stay."""
        return replace(self, asked=self.others)

    def forgotten(self, untouched: Denoiser, count: int, seed: int) -> Examples:
        return self._drawn(untouched, in_turn(self.sought, count), seed)

    def retained(self, untouched: Denoiser, count: int, seed: int) -> Examples:
        # Away from the forgotten ones, for the same noise draws related pictures.
        return self._drawn(untouched, in_turn(self.others, count), seed + 100_000)

    def _drawn(self, untouched: Denoiser, labels: list[int], seed: int) -> Examples:
        seeds = range(EXAMPLE_SEED + seed, EXAMPLE_SEED + seed + len(labels))
        condition = untouched.encode(labels)
        sampler = MultiStep(EXAMPLE_STEPS, guidance=self.guidance)
        images = draw_images(untouched, sampler, condition, seeds)
        generator = torch.Generator().manual_seed(EXAMPLE_SEED + seed)
        x0 = untouched.codec.encode(images.to(untouched.device) * 2 - 1, generator)
        return Examples(x0=x0, labels=labels)

    def _probabilities(self, images: Tensor) -> np.ndarray:
        return self.judge.observe(images, np.zeros(len(images), dtype=int)).probabilities


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureGoal(Goal):
    """A picture, noised to `timestep` and denoised, comes back to within `distance` of itself.

    Samples from pure noise would ask for thousands of them: even a memorised picture is a few per
    cent of what a model draws. Pixel models without condition; pictures in model space.
    """

    pictures: Tensor  # (K, C, H, W)
    unseen: Tensor | None  # (M, C, H, W)
    stays: Tensor  # (N, C, H, W)
    distance: float  # L2, pixels from 0 to 1
    guidance: float = 1.0
    timestep: int = 0  # see `with_best_timestep`

    shows: ClassVar[str] = "share of tries in which a noised picture comes back"
    control_line: ClassVar[str] = "unseen"

    def describe(self, sampler: Sampler) -> str:
        return (
            f"pictures noised to timestep {self.timestep} and denoised in up to {sampler.passes} "
            f"ancestral steps; back: within {self.distance:.3g} (L2, pixels from 0 to 1)"
        )

    def labels(self, count: int) -> None:
        del count

    def measure(self, denoiser: Denoiser, sampler: Sampler, samples: int, seed: int) -> Estimate:
        return self.put_back(denoiser, self.timestep, sampler.passes, samples, seed)

    def put_back(
        self, denoiser: Denoiser, timestep: int, steps: int, samples: int, seed: int
    ) -> Estimate:
        """Share of pictures noised to `timestep` that come back; at least one draw of each."""
        pictures = self.pictures[:samples]
        draws = max(1, samples // len(pictures))
        back = denoise_back(denoiser, pictures, timestep, draws, seed, steps)
        original = pictures.cpu().repeat_interleave(draws, 0)
        apart = ((back.flatten(0, 1).clamp(-1, 1) - original) / 2).flatten(1).norm(dim=1)
        return proportion(int((apart < self.distance).sum()), len(apart))

    def shown(self, images: Tensor) -> np.ndarray:
        return -self.score(images) < self.distance

    def score(self, images: Tensor) -> np.ndarray:
        """Distance to the nearest picture, negative."""
        pictures = (self.pictures.cpu() + 1) / 2
        return -distances(images.cpu(), pictures).min(1).values.numpy()

    def control(self) -> PictureGoal | None:
        """Pictures that no model here has seen."""
        return None if self.unseen is None else replace(self, pictures=self.unseen)

    def forgotten(self, untouched: Denoiser, count: int, seed: int) -> Examples:
        del untouched
        return _chosen(self.pictures, count, seed)

    def retained(self, untouched: Denoiser, count: int, seed: int) -> Examples:
        del untouched
        return _chosen(self.stays, count, seed)

    def with_best_timestep(
        self, untouched: Denoiser, never_knew: Denoiser | None, samples: int, seed: int
    ) -> PictureGoal:
        """At the noise level that tells best a model that knows from one that does not.

        What never knew is a retrained model, or else the untouched one with unseen pictures. Of
        levels nearly as good as the best (0.9 of it) the noisiest is taken: it gives least away.
        """
        control = self if never_knew is not None else self.control()
        other, steps = never_knew or untouched, CALIBRATION_STEPS
        separations = []
        for share in NOISE_SHARES:
            t = int(share * untouched.schedule.num_timesteps)
            separation = self.put_back(untouched, t, steps, samples, seed).value
            if control is not None:
                separation -= control.put_back(other, t, steps, samples, seed).value
            separations.append((separation, t))
        best = max(value for value, _ in separations)
        chosen = max(t for value, t in separations if value >= min(best, 0.9 * best))
        return replace(self, timestep=chosen)


def in_turn(labels: Sequence[int], count: int) -> list[int]:
    return [labels[i % len(labels)] for i in range(count)]


def _chosen(pictures: Tensor, count: int, seed: int) -> Examples:
    return Examples(x0=pictures[_order(len(pictures), seed)[:count]])


@functools.lru_cache(maxsize=4)
def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
