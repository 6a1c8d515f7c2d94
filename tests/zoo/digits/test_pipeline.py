"""The pipeline that travels with a model; stock diffusers runs it in tests/diffusion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from efface.diffusion.denoiser import Denoiser
from efface.zoo.digits.pipeline import ClassConditionalPipeline

LABELS = [1, 4]


@pytest.fixture
def pipeline(tiny_unet: Any) -> ClassConditionalPipeline:
    denoiser: Denoiser = tiny_unet()
    made = ClassConditionalPipeline(denoiser.network, denoiser.scheduler, 10, default_steps=2)
    made.set_progress_bar_config(disable=True)
    return made


def generated(pipeline: ClassConditionalPipeline, **options: Any) -> Any:
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return pipeline(LABELS, latents=noise, **options).images


def test_every_type_of_output_is_the_same_images(pipeline: ClassConditionalPipeline) -> None:
    tensor = generated(pipeline, output_type="pt")
    assert tensor.shape == (2, 1, 8, 8) and 0 <= tensor.min() <= tensor.max() <= 1
    array = generated(pipeline, output_type="np")
    assert_close(torch.from_numpy(array).permute(0, 3, 1, 2), tensor, rtol=0, atol=0)
    pixels = np.stack([np.array(image) for image in generated(pipeline)])
    assert_close(pixels, (array[..., 0] * 255).round().astype(np.uint8))
    with pytest.raises(ValueError, match="'jpeg' is unknown"):
        generated(pipeline, output_type="jpeg")


def test_guidance_needs_a_null_class(pipeline: ClassConditionalPipeline) -> None:
    plain, guided = (generated(pipeline, guidance_scale=g, output_type="pt") for g in (1.0, 3.0))
    assert (plain - guided).abs().max() > 1e-3
    pipeline.register_to_config(null_label=None)
    with pytest.raises(ValueError, match="no null class"):
        generated(pipeline, guidance_scale=3.0)
