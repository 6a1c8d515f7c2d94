"""Pixels to model space and back."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from efface.diffusion.denoiser import IdentityCodec


def test_pixel_models_see_pixels():
    images = torch.rand(2, 1, 8, 8)
    assert IdentityCodec().encode(images) is images
    assert IdentityCodec().decode(images) is images


@torch.no_grad()
def test_latents_are_scaled_by_the_vaes_own_factor(tiny_dit):
    codec = tiny_dit().codec
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    factor = codec.vae.config.scaling_factor
    assert factor == 0.18215  # diffusers' default
    posterior = codec.vae.encode(images).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(3))
    latents = codec.encode(images, torch.Generator().manual_seed(3))
    assert latents.shape == (2, 4, 4, 4)
    assert_close(latents / factor, posterior.mean + posterior.std * noise)
    assert_close(codec.decode(latents), codec.vae.decode(latents / factor).sample)


def test_many_pixels_are_encoded_in_parts_to_the_same_latents(tiny_dit, monkeypatch):
    codec = tiny_dit().codec
    images = torch.rand(5, 3, 8, 8) * 2 - 1
    whole = codec.encode(images, torch.Generator().manual_seed(3))
    sizes = []
    codec.vae.encoder.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    monkeypatch.setattr("efface.diffusion.denoiser.MOST_PIXELS", 2 * 64)
    assert_close(codec.encode(images, torch.Generator().manual_seed(3)), whole)
    assert sizes == [2, 2, 1]
