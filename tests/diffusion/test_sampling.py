"""Samplers against stock pipelines and formulas; seeds and batch sizes."""

from __future__ import annotations

import copy
import importlib.util
import math

import diffusers
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from efface.diffusion import codec, sampling
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import CLASS_PIPELINE, build_denoiser
from efface.diffusion.sampling import (
    MultiStep,
    OneStep,
    Sampler,
    draw_images,
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
    monkeypatch.setattr(codec, "MOST_PIXELS", 1)
    assert_close(draw_images(model, MultiStep(2), condition, seeds), whole)
    assert set(passed) == {2, 1} and decoded == [1] * 5


def test_models_saved_with_another_known_scheduler_are_drawn_by_ddim(tiny_unet):
    unet = tiny_unet()
    euler = diffusers.EulerDiscreteScheduler(timestep_spacing="trailing")
    ddim = diffusers.DDIMScheduler(timestep_spacing="trailing")
    drawn = []
    for scheduler in (euler, ddim):
        denoiser = build_denoiser(unet.network, scheduler, 10, 10)
        drawn.append(draw_images(denoiser, MultiStep(4), denoiser.encode([1, 2]), [0, 1]))
    assert_close(drawn[0], drawn[1], rtol=0, atol=0)


def test_epsilon_models_cannot_start_where_no_signal_is_left(tiny_unet):
    denoiser = tiny_unet(zero_terminal_snr=True)
    with pytest.raises(ModelError, match="predicts v or the sample"):
        draw_images(denoiser, MultiStep(2), denoiser.encode([1]), [0])
