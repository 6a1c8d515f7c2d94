"""Samples of prompts, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Condition
from efface.diffusion.sampling import MultiStep, Sampler, draw_images
from efface.diffusion.text.denoiser import TextDenoiser
from efface.progress import Bar
from efface.settings.base import Settings


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptSampler:
    """A model and how it is sampled."""

    denoiser: TextDenoiser
    sampler: Sampler
    batch_size: int

    def sample(self, conditions: Condition, seeds: range, what: str) -> Tensor:
        """Images (N, C, H, W) uint8, one per row and seed."""
        with Bar(what, len(seeds), unit="images") as bar:
            images = draw_images(
                self.denoiser, self.sampler, conditions, seeds, self.batch_size, bar.advance
            )
        # A VAE's layout would not survive a file, and with it goes the last digit of a sum.
        return (images * 255).round().byte().contiguous()

    def sample_one(self, condition: Condition, seeds: range, what: str) -> Tensor:
        """Images of one condition (one row), one per seed."""
        return self.sample(repeat(condition, len(seeds)), seeds, what)


def memorised_sampler(model: TextDenoiser, settings: Settings) -> MultiStep:
    """How all images of a request are sampled, before and after training."""
    config = settings.evaluate
    return MultiStep.within(model, config.baseline_steps, config.set_guidance)


def repeat(condition: Condition, count: int) -> Condition:
    """One row `count` times."""
    return condition[torch.zeros(count, dtype=torch.long)]


def to_unit(images: Tensor) -> Tensor:
    """Pixels 0 to 255 as numbers from 0 to 1."""
    return images.float() / 255


def seeds_for(seed: int, purpose: str, count: int) -> range:
    """Seeds that no other purpose shares."""
    first = derive_seed(seed, "memorised", purpose)
    return range(first, first + count)
