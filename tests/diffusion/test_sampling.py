"""Samplers against stock pipelines and formulas; seeds and batch sizes."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import math

import diffusers
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from efface.diffusion import denoiser as denoisers
from efface.diffusion import sampling
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import CLASS_PIPELINE, build_denoiser
from efface.diffusion.sampling import (
    MultiStep,
    OneStep,
    Sampler,
    denoise_to,
    draw_from_noise,
    draw_images,
    first_timestep,
    generators_from_seeds,
)
from efface.errors import ModelError

SAMPLERS = [
    pytest.param(OneStep(440), id="one-step"),
    pytest.param(OneStep(440, 0.9286), id="one-step-scaled"),
    pytest.param(MultiStep(4), id="ddim"),
    pytest.param(MultiStep(4, guidance=2.0), id="ddim-guided"),
]
SEEDS = [5, 3, 100, 0, 7, 6, 2**40]
LABELS = [0, 1, 2, 3, 4, 5, 9]

SPEC = importlib.util.spec_from_file_location("pipeline", CLASS_PIPELINE)
assert SPEC is not None and SPEC.loader is not None
MODULE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MODULE)
ClassConditionalPipeline = MODULE.ClassConditionalPipeline  # as written beside every such model


@pytest.fixture(scope="module")
def denoiser(tiny_unet) -> Denoiser:
    """Predicts x0, so that an untrained network's images are not all black and white."""
    return tiny_unet(prediction="sample", clip_sample=False)


def noise_of(denoiser: Denoiser, seeds: list[int]) -> Tensor:
    return torch.stack(
        [
            torch.randn(denoiser.sample_shape, generator=torch.Generator().manual_seed(s))
            for s in seeds
        ]
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_sample_depends_on_its_seed_and_label_alone(denoiser, sampler, batch_size):
    together = draw_images(denoiser, sampler, denoiser.encode(LABELS), SEEDS)
    apart = draw_images(denoiser, sampler, denoiser.encode(LABELS), SEEDS, batch_size=batch_size)
    assert_close(apart, together, rtol=0, atol=1e-5)
    order = [4, 0, 6]
    few = draw_images(
        denoiser, sampler, denoiser.encode([LABELS[i] for i in order]), [SEEDS[i] for i in order]
    )
    assert_close(few, together[order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_other_seeds_and_other_labels_give_other_samples(denoiser, sampler):
    images = draw_images(denoiser, sampler, denoiser.encode([1, 1, 2]), [0, 1, 0])
    assert (images[0] - images[1]).abs().max() > 1e-3
    assert (images[0] - images[2]).abs().max() > 1e-3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_images_lie_in_the_unit_interval_and_repeat_exactly(denoiser, sampler):
    condition = denoiser.encode([1, 2])
    first = draw_images(denoiser, sampler, condition, [0, 1])
    assert first.shape == (2, 1, 8, 8)
    assert first.dtype == torch.float32
    assert 0 <= first.min() < first.max() <= 1
    assert_close(draw_images(denoiser, sampler, condition, [0, 1]), first, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@torch.no_grad()
def test_one_step_is_x0_read_at_the_start_timestep(tiny_unet, kind):
    denoiser = tiny_unet(prediction=kind)
    denoiser.network.eval()
    z = noise_of(denoiser, [0, 1, 2])
    labels, t = torch.tensor([1, 2, 3]), torch.full((3,), 440)
    alpha, sigma = denoiser.schedule.alphas[440], denoiser.schedule.sigmas[440]
    x_t = 0.9286 * z
    output = denoiser.network(x_t, t, class_labels=labels).sample
    by_hand = {
        "epsilon": (x_t - sigma * output) / alpha,
        "sample": output,
        "v_prediction": alpha * x_t - sigma * output,
    }[kind]
    drawn = OneStep(440, 0.9286).draw(denoiser, z, denoiser.encode([1, 2, 3]))
    assert_close(drawn, by_hand)


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
def test_ddim_of_a_class_model_equals_the_pipeline_that_is_saved_with_it(denoiser, guidance):
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


def test_the_saved_pipeline_refuses_what_it_cannot_do(denoiser):
    pipeline = ClassConditionalPipeline(denoiser.network, denoiser.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    with pytest.raises(ValueError, match="no null class: use guidance_scale=1"):
        pipeline([3], guidance_scale=2.0)
    with pytest.raises(ValueError, match="output_type 'jpg' is unknown: use 'pil', 'np' or 'pt'"):
        pipeline([3], num_inference_steps=1, output_type="jpg")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_passes_are_the_rows_that_go_through_the_network(denoiser, sampler: Sampler):
    counted = copy.deepcopy(denoiser)
    rows: list[int] = []
    counted.network.register_forward_hook(lambda _m, inputs, _o: rows.append(len(inputs[0])))
    draw_images(counted, sampler, counted.encode([1, 2, 3]), [0, 1, 2])
    assert sum(rows) == 3 * sampler.passes


def test_passes_of_the_usual_samplers():
    assert OneStep(440).passes == 1
    assert MultiStep().passes == 50
    assert MultiStep(50, guidance=2.0).passes == 100


def test_progress_is_told_after_each_batch(denoiser):
    told: list[int] = []
    condition = denoiser.encode(LABELS)
    draw_images(denoiser, OneStep(440), condition, SEEDS, batch_size=3, on_batch=told.append)
    assert told == [3, 3, 1]


def test_latent_models_give_decoded_images(tiny_dit):
    denoiser = tiny_dit()
    images = draw_images(denoiser, OneStep(440), denoiser.encode([1, 2]), [0, 1])
    assert images.shape == (2, 3, 8, 8)
    with torch.no_grad():
        latents = OneStep(440).draw(denoiser, noise_of(denoiser, [0, 1]), denoiser.encode([1, 2]))
        decoded = denoiser.codec.vae.decode(latents / 0.18215).sample
    assert_close(images, decoded.clamp(-1, 1) / 2 + 0.5, rtol=0, atol=1e-6)


def test_large_samples_go_in_small_batches_and_come_out_the_same(tiny_dit, monkeypatch):
    model = tiny_dit()
    condition, seeds = model.encode([1, 2, 3, 4, 5]), [1, 2, 3, 4, 5]
    whole = draw_images(model, MultiStep(2), condition, seeds)
    passed, decoded = [], []
    model.network.register_forward_pre_hook(lambda _, args: passed.append(len(args[0])))
    model.codec.vae.decoder.register_forward_pre_hook(lambda _, args: decoded.append(len(args[0])))
    monkeypatch.setattr(sampling, "MOST_ENTRIES", 2 * math.prod(model.sample_shape))
    monkeypatch.setattr(denoisers, "MOST_PIXELS", 1)
    assert_close(draw_images(model, MultiStep(2), condition, seeds), whole)
    assert set(passed) == {2, 1} and decoded == [1] * 5


def test_models_saved_with_another_known_scheduler_are_drawn_by_ddim(tiny_unet):
    unet = tiny_unet()
    euler = diffusers.EulerDiscreteScheduler(timestep_spacing="trailing")
    ddim = diffusers.DDIMScheduler(timestep_spacing="trailing", clip_sample=False)
    drawn = []
    for scheduler in (euler, ddim):
        denoiser = build_denoiser(unet.network, scheduler, 10, 10)
        drawn.append(draw_images(denoiser, MultiStep(4), denoiser.encode([1, 2]), [0, 1]))
    assert_close(drawn[0], drawn[1], rtol=0, atol=0)


def test_epsilon_models_cannot_start_where_no_signal_is_left(tiny_unet):
    with pytest.raises(ModelError, match="predicts v or the sample"):
        tiny_unet(zero_terminal_snr=True)


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


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_images_that_are_not_finite_are_refused_by_the_models_name(tiny_unet, sampler):
    denoiser = dataclasses.replace(tiny_unet(prediction="sample"), source="my/model")
    denoiser.network.conv_out.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ModelError, match="my/model generates images that are not finite"):
        draw_images(denoiser, sampler, denoiser.encode([1]), [0])


def test_partial_denoising_ends_at_every_timestep_that_is_asked_for(tiny_unet) -> None:
    denoiser = tiny_unet()
    start = first_timestep(denoiser)
    end = torch.linspace(0, start, 50).long()
    z = torch.randn(50, *denoiser.sample_shape)
    with torch.no_grad():
        condition = denoiser.encode([0] * 50)
        x_t = denoise_to(end, denoiser, z, condition, steps=5)
        at_once = denoise_to(end[:1], denoiser, z[:1], condition[:1], steps=1)
        first = denoiser(z[:1], torch.tensor([start]), condition[:1])
    assert_close(x_t[-1], z[-1], rtol=1e-3, atol=1e-3)  # no way to go: x0 and eps make x_t again
    alpha, sigma = denoiser.schedule.levels(end[:1], z[:1])
    assert_close(at_once, alpha * first.x0 + sigma * first.eps)
    assert not x_t[0].equal(z[0])
