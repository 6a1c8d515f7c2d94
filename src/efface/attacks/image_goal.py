"""Forgotten pictures: do they come back from their noised selves."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
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

    def unnamed(self, denoiser: Denoiser) -> ImageGoal:
        """Itself: pictures are never asked for."""
        del denoiser
        return self

    def condition(self, denoiser: Denoiser, count: int) -> None:
        del denoiser, count

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

    def control(self) -> ImageGoal | None:
        """Pictures that no model here has seen."""
        return None if self.unseen is None else replace(self, pictures=self.unseen)

    def forgotten(self, original: Denoiser, count: int, seed: int) -> Examples:
        del original
        return _chosen(self.pictures, count, seed)

    def retained(self, original: Denoiser, count: int, seed: int) -> Examples:
        del original
        return _chosen(self.stays, count, seed)

    def with_best_timestep(
        self, original: Denoiser, never_knew: Denoiser | None, samples: int, seed: int
    ) -> ImageGoal:
        """At the noise level that tells best a model that knows from one that does not.

        What never knew is a retrained model, or else the original one with unseen pictures. Of
        levels nearly as good as the best (0.9 of it) the noisiest is taken: it gives least away.
        """
        control = self if never_knew is not None else self.control()
        other, steps = never_knew or original, CALIBRATION_STEPS
        separations = []
        for share in NOISE_SHARES:
            t = int(share * original.schedule.num_timesteps)
            separation = self.put_back(original, t, steps, samples, seed).value
            if control is not None:
                separation -= control.put_back(other, t, steps, samples, seed).value
            separations.append((separation, t))
        best = max(value for value, _ in separations)
        chosen = max(t for value, t in separations if value >= min(best, 0.9 * best))
        return replace(self, timestep=chosen)


def _chosen(pictures: Tensor, count: int, seed: int) -> Examples:
    return Examples(x0=pictures[_order(len(pictures), seed)[:count]])


@functools.lru_cache(maxsize=4)
def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
