"""Text-noise norms of prompts: large for memorised ones (Wen et al., ICLR 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import generators_from_seeds, rows_at_once

AT_ONCE = 64  # rows in one pass


def first_noise(denoiser: Denoiser, seeds: Sequence[int]) -> Tensor:
    """The noise that samples of these seeds begin from, (B, C, H, W)."""
    noise = [torch.randn(denoiser.sample_shape, generator=g) for g in generators_from_seeds(seeds)]
    return torch.stack(noise).to(denoiser.device)


def first_outputs(denoiser: Denoiser, noise: Tensor, condition: Condition) -> Tensor:
    """The network's output for pure noise at the last timestep, (B, ...).

    In the network's own kind of prediction: at the end of a schedule without signal, eps itself
    carries no information.
    """
    t = torch.full((len(noise),), denoiser.schedule.num_timesteps - 1, device=noise.device)
    return denoiser(noise, t, condition).output


def text_noise(denoiser: Denoiser, noise: Tensor, condition: Condition, null: Tensor) -> Tensor:
    """Norms |eps_theta(x_T, T, c) - eps_theta(x_T, T, null)|, (B,).

    `null` are the `first_outputs` of the null condition at the same noise.
    """
    return (first_outputs(denoiser, noise, condition) - null).flatten(1).norm(dim=1)


@torch.no_grad()
def text_noise_norms(denoiser: Denoiser, conditions: Condition, seeds: Sequence[int]) -> np.ndarray:
    """Norms of P conditions at the same noise of every seed: (P, seeds)."""
    denoiser.network.eval()
    noise = first_noise(denoiser, seeds)
    nothing = denoiser.null(conditions[torch.zeros(len(noise), dtype=torch.long)])
    rows = rows_at_once(denoiser, AT_ONCE)
    norms = []
    parts = [slice(start, start + rows) for start in range(0, len(noise), rows)]
    null = torch.cat([first_outputs(denoiser, noise[part], nothing[part]) for part in parts])
    for start in range(0, len(conditions) * len(seeds), rows):
        pairs = torch.arange(start, min(start + rows, len(conditions) * len(seeds)))
        which, draw = pairs // len(seeds), pairs % len(seeds)
        norms.append(text_noise(denoiser, noise[draw], conditions[which], null[draw]))
    return torch.cat(norms).view(len(conditions), len(seeds)).cpu().numpy()
