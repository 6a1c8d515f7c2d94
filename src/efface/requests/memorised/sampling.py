"""Samples of prompts, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from efface.data.randomness import derive_seed
from efface.diffusion.sampling import MultiStep, Sampler, draw_images
from efface.diffusion.text.denoiser import TextDenoiser
from efface.progress import Bar
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.text_noise import text_noise_norms
from efface.settings.base import Settings


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptSampler:
    """A model, how it is sampled, and the seed of all that is sampled before training."""

    denoiser: TextDenoiser
    sampler: Sampler
    batch_size: int
    seed: int = 0

    def sample(self, prompts: Sequence[str], each: int, purpose: str) -> Tensor:
        """`each` images of every prompt, (N, C, H, W) uint8."""
        condition = self.denoiser.encode([prompt for prompt in prompts for _ in range(each)])
        seeds = self.seeds(purpose, len(condition))
        with Bar(f"sampling ({purpose})", len(seeds), unit="images") as bar:
            images = draw_images(
                self.denoiser, self.sampler, condition, seeds, self.batch_size, bar.advance
            )
        # A VAE's layout would not survive a file, and with it goes the last digit of a sum.
        return (images * 255).round().byte().contiguous()

    def norms(self, prompts: Sequence[str], draws: int) -> np.ndarray:
        """Text-noise norms (P,), means over draws."""
        return text_noise_norms(self.denoiser, prompts, self.seeds("norms", draws)).mean(1)

    def seeds(self, purpose: str, count: int) -> range:
        """Seeds that no other purpose shares."""
        first = derive_seed(self.seed, "memorised", purpose)
        return range(first, first + count)


def prompt_sampler(denoiser: TextDenoiser, settings: Settings) -> PromptSampler:
    """How all images of a request are sampled, before and after training."""
    evaluate = settings.evaluate
    return PromptSampler(
        denoiser=denoiser,
        sampler=MultiStep.within(denoiser, evaluate.baseline_steps, evaluate.set_guidance),
        batch_size=evaluate.batch_size,
        seed=settings.of(MemorisedSettings).seed,
    )


def to_unit(images: Tensor) -> Tensor:
    """Pixels 0 to 255 as numbers from 0 to 1."""
    return images.float() / 255
