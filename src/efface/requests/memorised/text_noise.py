"""Text-noise norms of prompts: large for memorised ones (Wen et al., ICLR 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from efface.diffusion.denoiser import Condition
from efface.diffusion.sampling import generators_from_seeds, rows_at_once
from efface.diffusion.text.denoiser import TextDenoiser

AT_ONCE = 64  # rows in one pass


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
