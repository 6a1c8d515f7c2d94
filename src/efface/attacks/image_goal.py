"""Forgotten images: are they recovered from their noised selves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import Tensor

from efface.attacks.goals import Examples, Goal
from efface.data.split import distances
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import Sampler
from efface.metrics.copy_similarity import denoise_back
from efface.metrics.intervals import Estimate, proportion

CALIBRATION_STEPS = 20
NOISE_SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the schedule


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
