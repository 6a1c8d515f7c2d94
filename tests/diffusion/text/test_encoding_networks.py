"""Every network is called as its stock pipeline calls it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from diffusers import FluxPipeline
from torch.testing import assert_close

from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.encoding import call_network, pack, unpack


def test_tokens_of_flux_are_those_of_the_stock_pipeline_and_come_apart_again() -> None:
    """Of a height and a width that differ, so that neither is taken for the other."""
    latents = torch.randn(2, 4, 6, 10)
    tokens = pack(latents)
    assert_close(tokens, FluxPipeline._pack_latents(latents, *latents.shape), rtol=0, atol=0)
    assert_close(unpack(tokens, 3, 5), latents, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [(8, 8), (8, 4)])
def test_a_row_depends_on_its_own_latents_timestep_and_condition_alone(
    text_model: Callable[..., TextDenoiser], kind: str, sizes: tuple[int, int]
) -> None:
    denoiser = text_model(kind)
    x_t, time = torch.randn(3, 4, *sizes), torch.tensor([20.0, 500.0, 980.0])
    condition = denoiser.encode(["a cat", "two bags", "a coat"])
    call = functools.partial(call_network, denoiser.network, denoiser.family)
    together = call(x_t, time, condition.tensors)
    assert together.shape[2:] == sizes and together.shape[1] in (4, 8)
    alone = call(x_t[1:2], time[1:2], condition[1:2].tensors)
    assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)
    other = call(x_t, time.flip(0), condition.tensors)
    assert (other - together)[[0, 2]].abs().max() > 1e-4
