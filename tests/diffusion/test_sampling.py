"""Samplers against formulas; seeds and batch sizes."""

from __future__ import annotations

import copy
import dataclasses
import math

import diffusers
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from efface.diffusion import denoiser as denoisers
from efface.diffusion import sampling
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import build_denoiser
from efface.diffusion.sampling import (
    MultiStep,
    OneStep,
    Sampler,
    denoise_to,
    draw_images,
    first_timestep,
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
