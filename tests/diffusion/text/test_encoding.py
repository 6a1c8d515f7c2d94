"""What networks are given beside the prompt: a size, a guidance to imitate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.testing import assert_close

from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.encoding import DISTILLED_GUIDANCE, constant_rows

Make = Callable[..., TextDenoiser]


@torch.no_grad()
def test_pixart_networks_for_large_pictures_are_told_the_size(text_model: Make) -> None:
    """The stock pipeline does so at 1024 pixels alone, too large for a test of its pictures."""
    denoiser = text_model("pixart_alpha_told_size")
    x_t, t = torch.randn(2, *denoiser.sample_shape), torch.tensor([20, 800])
    condition = denoiser.encode(["a cat", "two bags"])
    size = {"resolution": torch.full((2, 2), 16.0), "aspect_ratio": torch.ones(2, 1)}
    output = denoiser.network(
        x_t,
        timestep=t,
        encoder_hidden_states=condition.tensors["encoder_hidden_states"],
        encoder_attention_mask=condition.tensors["encoder_attention_mask"],
        added_cond_kwargs=size,
    ).sample
    assert_close(denoiser(x_t, t, condition).output, output[:, :4])


def test_networks_that_are_built_otherwise_have_the_parts_that_they_are_tested_for(
    text_model: Make,
) -> None:
    """A second attention with norms as in SD 3.5; no distilled guidance as in FLUX schnell."""
    plain, dual = (
        {name for name, _ in text_model(kind).network.named_modules()} for kind in ("sd3", "sd35")
    )
    assert {n.rsplit(".", 1)[-1] for n in dual - plain} >= {"attn2", "norm_q", "norm_k"}
    told, untold = (text_model(kind).encode(["a cat"]) for kind in ("flux", "flux_schnell"))
    assert told.tensors.keys() - untold.tensors.keys() == {"guidance"}


def test_only_the_families_that_take_it_are_told_more_than_the_prompt(
    text_model: Make, kind: str
) -> None:
    """SDXL the original size, the corner of the crop and the size; FLUX its guidance."""
    denoiser = text_model(kind)
    told = constant_rows(denoiser.network, denoiser.family, (16, 24))
    expected = {"sdxl": {"time_ids": [16, 24, 0, 0, 16, 24]}}
    expected["flux"] = {"guidance": DISTILLED_GUIDANCE}
    assert {name: row.tolist() for name, row in told.items()} == expected.get(kind, {})
