"""Retained images from the model itself, without copies of what is forgotten."""

from __future__ import annotations

import pytest
import torch

from efface.data.split import copy_distance, distances
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import DataError
from efface.requests.images import generating
from efface.requests.images.generating import generate_retained


def test_samples_near_an_image_to_forget_are_dropped(tiny_unet):
    denoiser = tiny_unet(conditional=False)
    seeds = range(generating.GENERATED_SEED, generating.GENERATED_SEED + 12)
    samples = (draw_images(denoiser, MultiStep(2), None, seeds) * 255).round().byte()
    found = generate_retained(denoiser, samples[:1], 12, 2)
    between = distances(samples, samples[:1])
    near = between[:, 0] < copy_distance(between, 0.8)
    assert near[0] and found.copies + found.alike == int(near.sum())
    assert torch.equal(found.images, samples[~near])


def test_a_model_that_generates_copies_alone_is_refused(tiny_unet, monkeypatch):
    constant = torch.full((4, 1, 8, 8), 0.5)
    monkeypatch.setattr(generating, "draw_images", lambda *_, **__: constant)
    monkeypatch.setattr(generating, "copy_distance", lambda *_: 1.0)
    with pytest.raises(DataError, match="--retain"):
        generate_retained(tiny_unet(conditional=False), (constant[:1] * 255).byte(), 4, 2)
