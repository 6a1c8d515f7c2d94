"""Samples against those of stock pipelines, from the same noise."""

from __future__ import annotations

import importlib.util

import diffusers
import pytest
import torch
from torch.testing import assert_close

from efface.diffusion.loading import CLASS_PIPELINE, build_denoiser
from efface.diffusion.sampling import (
    MultiStep,
    draw_from_noise,
    draw_images,
    generators_from_seeds,
)
from efface.errors import ModelError

SPEC = importlib.util.spec_from_file_location("pipeline", CLASS_PIPELINE)
assert SPEC is not None and SPEC.loader is not None
MODULE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MODULE)
ClassConditionalPipeline = MODULE.ClassConditionalPipeline  # as written beside every such model

TWENTY = {"num_train_timesteps": 20}
OWN_BETAS = {"trained_betas": [0.02 * n for n in range(1, 21)], **TWENTY}
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
V = {"prediction_type": "v_prediction"}
X0 = {"prediction_type": "sample"}
# Why samples of ten steps may differ from the stock pipeline's by more than 0.01.
RANDOM = "the stock scheduler adds noise of its own in every step"
ORDER = "the stock scheduler takes steps of a higher order than DDIM's"
SPREAD = "stock DDIM steps between evenly spread timesteps do not end where the next one begins"
SHORT = "the stock scheduler begins with less noise, where the last timestep is far from pure noise"
ROUND_TRIPS: list[tuple[str, dict, str | None]] = [
    ("DDIMScheduler", {}, None),
    ("DDIMScheduler", V, None),
    ("DDIMScheduler", X0, None),
    ("DDIMScheduler", {"clip_sample": False}, None),
    ("DDIMScheduler", {"thresholding": True}, None),
    ("DDIMScheduler", {"set_alpha_to_one": False, "steps_offset": 1}, None),
    ("DDIMScheduler", {"timestep_spacing": "linspace"}, None),
    ("DDIMScheduler", {"beta_schedule": "squaredcos_cap_v2"}, None),
    ("DDIMScheduler", {"beta_schedule": "scaled_linear"}, None),
    ("DDIMScheduler", ZERO_SNR | V, None),
    ("DDIMScheduler", ZERO_SNR | X0, None),
    ("DDIMScheduler", TWENTY, None),
    ("DDIMScheduler", OWN_BETAS, None),
    ("EulerDiscreteScheduler", {}, None),
    ("EulerDiscreteScheduler", V, SPREAD),
    ("EulerDiscreteScheduler", X0, SPREAD),
    ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"} | X0, None),
    ("EulerDiscreteScheduler", {"timestep_spacing": "leading", "steps_offset": 1} | V, None),
    ("EulerDiscreteScheduler", ZERO_SNR | V, None),
    ("EulerDiscreteScheduler", ZERO_SNR | X0, None),
    ("EulerDiscreteScheduler", {"beta_schedule": "squaredcos_cap_v2"} | V, SPREAD),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}, None),
    ("EulerDiscreteScheduler", TWENTY, SHORT),
    ("DEISMultistepScheduler", {}, None),
    ("DEISMultistepScheduler", V, ORDER),
    ("DPMSolverMultistepScheduler", {}, None),
    ("DPMSolverMultistepScheduler", V, ORDER),
    ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}, None),
    ("DPMSolverMultistepScheduler", ZERO_SNR | V, ORDER),
    ("DPMSolverSinglestepScheduler", {}, None),
    ("DPMSolverSinglestepScheduler", V, ORDER),
    ("LMSDiscreteScheduler", {}, None),
    ("HeunDiscreteScheduler", {}, None),
    ("HeunDiscreteScheduler", {"beta_schedule": "exp"}, None),
    ("PNDMScheduler", {}, ORDER),
    ("PNDMScheduler", {"skip_prk_steps": True} | V, None),
    ("UniPCMultistepScheduler", {}, None),
    ("UniPCMultistepScheduler", ZERO_SNR | V, ORDER),
    ("DDPMScheduler", {}, RANDOM),
    ("DDPMScheduler", {"beta_schedule": "sigmoid"}, RANDOM),
    ("DDPMScheduler", {"beta_schedule": "laplace"}, RANDOM),
    ("EulerAncestralDiscreteScheduler", {}, RANDOM),
]


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
def test_ddim_of_an_unconditional_model_equals_the_stock_pipeline(tiny_unet, kind, schedule):
    denoiser = tiny_unet(conditional=False, prediction=kind, schedule=schedule)
    pipeline = diffusers.DDIMPipeline(denoiser.network, denoiser.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    stock = pipeline(
        batch_size=3,
        generator=generators_from_seeds([0, 1, 2]),
        num_inference_steps=6,
        output_type="np",
    ).images
    images = draw_images(denoiser, MultiStep(6), None, [0, 1, 2])
    assert_close(images.permute(0, 2, 3, 1), torch.from_numpy(stock), rtol=0, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_ddim_of_a_class_model_equals_the_pipeline_that_is_saved_with_it(tiny_unet, guidance):
    denoiser = tiny_unet(prediction="sample", clip_sample=False)
    pipeline = ClassConditionalPipeline(denoiser.network, denoiser.scheduler, null_label=10)
    pipeline.set_progress_bar_config(disable=True)
    stock = pipeline(
        [3, 4],
        guidance_scale=guidance,
        num_inference_steps=5,
        generator=generators_from_seeds([8, 9]),
        output_type="pt",
    ).images
    sampler = MultiStep(5, guidance=guidance)
    images = draw_images(denoiser, sampler, denoiser.encode([3, 4]), [8, 9])
    assert_close(images, stock, rtol=0, atol=1e-5)


def test_the_saved_pipeline_refuses_what_it_cannot_do(tiny_unet):
    denoiser = tiny_unet(prediction="sample", clip_sample=False)
    pipeline = ClassConditionalPipeline(denoiser.network, denoiser.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    with pytest.raises(ValueError, match="no null class: use guidance_scale=1"):
        pipeline([3], guidance_scale=2.0)
    with pytest.raises(ValueError, match="output_type 'jpg' is unknown: use 'pil', 'np' or 'pt'"):
        pipeline([3], num_inference_steps=1, output_type="jpg")


@pytest.fixture(scope="module")
def network() -> diffusers.UNet2DModel:
    """Without attention, and quick."""
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=11,
    ).eval()


def both(network, scheduler, steps: int) -> float:
    """Mean absolute difference of our samples and the stock pipeline's, from the same noise."""
    pipeline = ClassConditionalPipeline(network, scheduler, null_label=10)
    pipeline.set_progress_bar_config(disable=True)
    noise, labels = torch.randn(2, 1, 8, 8, generator=generators_from_seeds([8])[0]), [3, 4]
    torch.manual_seed(0)
    stock = pipeline(labels, num_inference_steps=steps, latents=noise, output_type="pt").images
    denoiser = build_denoiser(network, scheduler, 10, 10)
    images = draw_from_noise(denoiser, MultiStep(steps), denoiser.encode(labels), noise)
    return float((images - stock).abs().mean())


@pytest.mark.parametrize(("name", "config", "reason"), ROUND_TRIPS)
def test_samples_are_those_of_the_stock_pipeline_or_it_is_said_why_not(
    network, name, config, reason
):
    scheduler = getattr(diffusers, name)(**config)
    difference = both(network, scheduler, 10)
    if reason is None:
        assert difference <= 0.01
    else:
        assert difference > 0.01, f"no longer true: {reason}"
    if reason in (ORDER, SPREAD):  # they meet as steps become smaller
        assert both(network, scheduler, 40) <= 0.01
    if reason == RANDOM:  # without noise they are DDIM's with the same levels
        betas, clipped = scheduler.betas.tolist(), name == "DDPMScheduler"
        spacing = "leading" if clipped else "linspace"
        ddim = diffusers.DDIMScheduler(
            trained_betas=betas, clip_sample=clipped, timestep_spacing=spacing
        )
        denoisers = [build_denoiser(network, each, 10, 10) for each in (scheduler, ddim)]
        one, other = (
            draw_images(each, MultiStep(10), each.encode([3, 4]), [8, 9]) for each in denoisers
        )
        assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({}, 50),
        (TWENTY, 20),
        (OWN_BETAS, 20),
        (TWENTY | {"steps_offset": 1}, 19),
        (TWENTY | {"steps_offset": 1, "timestep_spacing": "trailing"}, 20),
        ({"num_train_timesteps": 1}, 1),
        ({"num_train_timesteps": 50}, 50),
    ],
)
def test_a_short_schedule_is_sampled_in_as_many_steps_as_it_has_timesteps(network, config, most):
    denoiser = build_denoiser(network, diffusers.DDIMScheduler(**config), 10, 10)
    sampler = MultiStep.within(denoiser)
    assert sampler == MultiStep(most)
    assert draw_images(denoiser, sampler, denoiser.encode([1]), [0]).isfinite().all()
    if most < 50:
        with pytest.raises(ModelError, match=f"{most + 1} steps were asked for.*{most}"):
            draw_images(denoiser, MultiStep(most + 1), denoiser.encode([1]), [0])
