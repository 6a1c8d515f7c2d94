from __future__ import annotations

import torch
from torch.testing import assert_close

from efface.diffusion.text.denoiser import TextDenoiser
from efface.requests.memorised.sampling import text_noise_norms


def test_the_norm_is_what_the_prompt_adds_to_the_prediction_from_pure_noise(
    memorising: TextDenoiser, prompt: str
) -> None:
    """Against the posterior mean at the last timestep, written out for two prompts."""
    seeds = range(5, 8)
    found = text_noise_norms(memorising, [prompt, "red cat"], seeds)
    noise = torch.stack(
        [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(s)) for s in seeds]
    )
    last = torch.full((3,), 999)
    for text, norms in zip((prompt, "red cat"), found, strict=True):
        rows = memorising.encode([text] * 3)
        difference = (
            memorising(noise, last, rows).eps - memorising(noise, last, memorising.null(rows)).eps
        )
        assert_close(torch.from_numpy(norms), difference.flatten(1).norm(dim=1))
    assert found[0].min() > 10 * found[1].max()
