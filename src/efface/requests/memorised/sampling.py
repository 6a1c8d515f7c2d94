"""Samples of prompts before anything is trained, and their text-noise norms.

The norms are large for memorised prompts (Wen et al., ICLR 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Condition
from efface.diffusion.sampling import (
    MultiStep,
    Sampler,
    draw_images,
    generators_from_seeds,
    rows_at_once,
)
from efface.diffusion.text.denoiser import TextDenoiser
from efface.progress import Bar
from efface.requests.memorised.settings import MemorisedSettings
from efface.settings.base import Settings

AT_ONCE = 64  # rows in one pass


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


@torch.no_grad()
def text_noise_norms(
    denoiser: TextDenoiser, prompts: Sequence[str], seeds: Sequence[int]
) -> np.ndarray:
    """|eps_theta(x_T, T, c) - eps_theta(x_T, T, null)| of P prompts c, from pure noise: (P, seeds).

    In the network's own kind of prediction: at the end of a schedule without signal, eps itself
    carries no information. All prompts have the same noise.
    """
    denoiser.network.eval()
    noise = [torch.randn(denoiser.sample_shape, generator=g) for g in generators_from_seeds(seeds)]
    x_t, conditions = torch.stack(noise).to(denoiser.device), denoiser.encode(prompts)
    last, rows = denoiser.schedule.num_timesteps - 1, rows_at_once(denoiser, AT_ONCE)

    def outputs(draws: Tensor, condition: Condition) -> Tensor:
        t = torch.full((len(draws),), last, device=denoiser.device)
        return denoiser(x_t[draws], t, condition).output

    draws = torch.arange(len(seeds))
    nothing = denoiser.null(conditions[torch.zeros_like(draws)])
    null = torch.cat([outputs(part, nothing[part]) for part in draws.split(rows)])
    norms = []
    for pairs in torch.arange(len(conditions) * len(seeds)).split(rows):
        draws = pairs % len(seeds)
        differences = outputs(draws, conditions[pairs // len(seeds)]) - null[draws]
        norms.append(differences.flatten(1).norm(dim=1))
    return torch.cat(norms).view(len(conditions), len(seeds)).cpu().numpy()
