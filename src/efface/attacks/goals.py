"""What an attack tries to bring back, and what an attacker has at hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from efface.attacks.conditions import has_null
from efface.data.batch import in_turn
from efface.data.split import distances
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import MultiStep, Sampler, draw_images
from efface.metrics.copy_similarity import denoise_back
from efface.metrics.intervals import Estimate, proportion

EXAMPLE_SEED = 6_000_000  # away from the seeds of training, evaluation and attacks
EXAMPLE_STEPS = 50
REAL, SAMPLED = "real images", "samples of the original model"
CALIBRATION_STEPS = 20
NOISE_SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the schedule


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Images in model space (N, C, H, W); of a conditional model, each with its label or prompt."""

    x0: Tensor
    conditions: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self.x0)

    def first(self, count: int) -> Examples:
        conditions = None if self.conditions is None else self.conditions[:count]
        return Examples(x0=self.x0[:count], conditions=conditions)

    def some(self, count: int, seed: int) -> Examples:
        """At most `count` of them, in an order by chance."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]
        conditions = self.conditions and [self.conditions[i] for i in order.tolist()]
        return Examples(x0=self.x0[order.to(self.x0.device)], conditions=conditions)

    def encode(self, denoiser: Denoiser) -> Condition | None:
        return None if self.conditions is None else denoiser.encode(self.conditions)


class Goal(ABC):
    """When the forgotten thing counts as recovered."""

    guidance: float  # of every model that is sampled in many steps

    subject: ClassVar[str]  # what such goals are about, in a phrase
    y_label: ClassVar[str]  # of a curve
    control_line: ClassVar[str]  # name of the control among a curve's lines

    @property
    def examples(self) -> str:
        """What `forgotten` gives, in words."""
        return REAL

    @property
    def noised(self) -> str:
        """What `originals` gives, in words."""
        return self.examples

    @abstractmethod
    def describe(self, sampler: Sampler) -> str:
        """How it is measured, in words for a protocol."""

    def unconditioned(self, denoiser: Denoiser) -> Goal:
        """The same goal, for samples of this model that are not conditioned on it."""
        return self

    def condition(self, denoiser: Denoiser, count: int) -> Condition | None:
        """What `count` samples are conditioned on; None for an unconditional model."""
        return None

    @abstractmethod
    def measure(self, denoiser: Denoiser, sampler: Sampler, samples: int, seed: int) -> Estimate:
        """Share of samples of a model, as it is, that show it; exact interval."""

    @abstractmethod
    def shown(self, images: Tensor) -> np.ndarray:
        """Whether images (N, C, H, W) in [0, 1] show it: (N,) bool."""

    @abstractmethod
    def score(self, images: Tensor) -> np.ndarray:
        """How near images (N, C, H, W) in [0, 1] come to it, (N,): higher is nearer."""

    @abstractmethod
    def control(self) -> Goal | None:
        """The same measurement of what the original model was never taught; None: not possible."""

    @abstractmethod
    def forgotten(self, original: Denoiser, count: int, seed: int) -> Examples:
        """At most `count` examples of what is forgotten."""

    def originals(self, original: Denoiser, count: int, seed: int) -> Examples:
        """At most `count` of the forgotten images themselves, or what stands for them."""
        return self.forgotten(original, count, seed)

    @abstractmethod
    def retained(self, original: Denoiser, count: int, seed: int) -> Examples:
        """At most `count` examples of what is retained, nothing of what is forgotten among them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ConditionGoal(Goal):
    """Sought in samples that are conditioned on labels or prompts.

    `sought` are the forgotten conditions, `others` retained ones. Examples are `real` ones, where
    there are any, or sampled from the original model.
    """

    real: Examples | None = None  # pixels from -1 to 1
    sought: Sequence[Any]
    conditions: Sequence[Any]  # of samples: `sought`, `others` for a control, empty: unconditioned
    others: Sequence[Any]
    guidance: float = 1.0

    subject: ClassVar[str] = "what is named by labels or prompts"
    kind: ClassVar[str]  # of condition
    wording: ClassVar[str]  # of samples that are conditioned on `sought`
    null: ClassVar[str]  # the condition of samples that are not conditioned

    @property
    @abstractmethod
    def measured_with(self) -> str:
        """What finds it in samples, in words for a protocol."""

    @abstractmethod
    def describe_exchange(self, pairs: Sequence[tuple[Any, Any]]) -> str:
        """That both conditions of each pair mean each other, in words."""

    @property
    def conditioning(self) -> str:
        """What samples are conditioned on, in words for a protocol."""
        if not self.conditions:
            return f"not conditioned ({self.null})"
        if list(self.conditions) == list(self.others):
            return f"conditioned on retained {self.kind}s in turn"
        return self.wording

    def describe(self, sampler: Sampler) -> str:
        return (
            f"{self.conditioning}, {sampler.describe()} (one-step generators: their one step); "
            f"{self.measured_with}"
        )

    def conditioned_on(self, conditions: Sequence[Any]) -> Self:
        """The same goal, sought under other conditions."""
        return replace(self, conditions=conditions)

    def unconditioned(self, denoiser: Denoiser) -> Self:
        """Sought under the null condition; under retained labels where there is no null label."""
        return self.conditioned_on(() if has_null(denoiser) else self.others)

    def condition(self, denoiser: Denoiser, count: int) -> Condition | None:
        if self.conditions:
            return denoiser.encode(in_turn(self.conditions, count))
        like = denoiser.encode([self.others[0]] * count)
        assert like is not None  # such a model takes conditions
        return denoiser.empty(like)

    def measure(self, denoiser: Denoiser, sampler: Sampler, samples: int, seed: int) -> Estimate:
        condition = self.condition(denoiser, samples)
        images = draw_images(denoiser, sampler, condition, range(seed, seed + samples))
        return proportion(int(self.shown(images).sum()), samples)

    def control(self) -> Self:
        """Sought in samples of retained conditions."""
        return self.conditioned_on(self.others)

    @property
    def examples(self) -> str:
        return SAMPLED if self.real is None else REAL

    def forgotten(self, original: Denoiser, count: int, seed: int) -> Examples:
        if self.real is None:
            return self._samples(original, in_turn(self.sought, count), seed)
        some = self.real.some(count, seed)
        return Examples(x0=encode(original, some.x0, seed), conditions=some.conditions)

    def retained(self, original: Denoiser, count: int, seed: int) -> Examples:
        # Away from the forgotten ones, for the same noise gives related images.
        return self._samples(original, in_turn(self.others, count), seed + 100_000)

    def _samples(self, original: Denoiser, conditions: list[Any], seed: int) -> Examples:
        first = EXAMPLE_SEED + 10_000 * seed
        sampler = MultiStep.within(original, EXAMPLE_STEPS, self.guidance)
        seeds = range(first, first + len(conditions))
        images = draw_images(original, sampler, original.encode(conditions), seeds)
        return Examples(x0=encode(original, images * 2 - 1, seed), conditions=conditions)


def encode(original: Denoiser, images: Tensor, seed: int) -> Tensor:
    """Images (N, C, H, W) from -1 to 1 -> model space."""
    generator = torch.Generator().manual_seed(EXAMPLE_SEED + seed)
    return original.codec.encode(images.to(original.device), generator)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageGoal(Goal):
    """An image, noised to `timestep` and denoised, is recovered to within `distance` of itself.

    Sampling from pure noise would take thousands of samples: even a memorised image is only a few
    per cent of them. Unconditional pixel models; images in model space.
    """

    images: Tensor  # (K, C, H, W)
    unseen: Tensor | None  # (M, C, H, W)
    retained_images: Tensor  # (N, C, H, W)
    distance: float  # L2, pixels from 0 to 1
    guidance: float = 1.0
    timestep: int = 0  # see `with_best_timestep`

    subject: ClassVar[str] = "particular images"
    y_label: ClassVar[str] = "share of trials in which a noised image is recovered"
    control_line: ClassVar[str] = "unseen"

    def describe(self, sampler: Sampler) -> str:
        return (
            f"images noised to timestep {self.timestep} and denoised in up to {sampler.passes} "
            f"ancestral steps; recovered: within {self.distance:.3g} (L2, pixels from 0 to 1)"
        )

    def measure(self, denoiser: Denoiser, sampler: Sampler, samples: int, seed: int) -> Estimate:
        return self.measure_at(denoiser, self.timestep, sampler.passes, samples, seed)

    def measure_at(
        self, denoiser: Denoiser, timestep: int, steps: int, samples: int, seed: int
    ) -> Estimate:
        """Share of images noised to `timestep` that are recovered; at least one trial of each."""
        images = self.images[:samples]
        draws = max(1, samples // len(images))
        back = denoise_back(denoiser, images, timestep, draws, seed, steps)
        original = images.cpu().repeat_interleave(draws, 0)
        apart = ((back.flatten(0, 1).clamp(-1, 1) - original) / 2).flatten(1).norm(dim=1)
        return proportion(int((apart < self.distance).sum()), len(apart))

    def shown(self, images: Tensor) -> np.ndarray:
        return -self.score(images) < self.distance

    def score(self, images: Tensor) -> np.ndarray:
        """Distance to the nearest forgotten image, negative."""
        forgotten = (self.images.cpu() + 1) / 2
        return -distances(images.cpu(), forgotten).min(1).values.numpy()

    def control(self) -> ImageGoal | None:
        """Images that no model here was trained on."""
        return None if self.unseen is None else replace(self, images=self.unseen)

    def forgotten(self, original: Denoiser, count: int, seed: int) -> Examples:
        return Examples(x0=self.images).some(count, seed)

    def retained(self, original: Denoiser, count: int, seed: int) -> Examples:
        return Examples(x0=self.retained_images).some(count, seed)

    def with_best_timestep(
        self, original: Denoiser, retrained: Denoiser | None, samples: int, seed: int
    ) -> ImageGoal:
        """At the noise level that best separates the original model from one trained without it.

        The latter is a retrained model, or else the original one with unseen images. Of levels
        nearly as good as the best (0.9 of it) the noisiest is taken: it gives least away.
        """
        control = self if retrained is not None else self.control()
        other, steps = retrained or original, CALIBRATION_STEPS
        separations = []
        for share in NOISE_SHARES:
            t = int(share * original.schedule.num_timesteps)
            separation = self.measure_at(original, t, steps, samples, seed).value
            if control is not None:
                separation -= control.measure_at(other, t, steps, samples, seed).value
            separations.append((separation, t))
        best = max(value for value, _ in separations)
        chosen = max(t for value, t in separations if value >= min(best, 0.9 * best))
        return replace(self, timestep=chosen)
