"""Selective Amnesia: Fisher information by its formula, and the penalty that holds weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from efface.data.source import BatchSource
from efface.diffusion.denoiser import Denoiser
from efface.methods.base import StepContext
from efface.methods.selective_amnesia import FISHER, ORIGINAL, SelectiveAmnesia, fisher_penalty
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer

Make = Callable[..., Denoiser]
MakeContext = Callable[..., StepContext]


@pytest.fixture
def prepared(tiny_unet: Make, labelled_context: MakeContext) -> tuple[Denoiser, dict]:
    """A model, and its pre-pass over two images at every timestep."""
    denoiser = tiny_unet(timesteps=100)
    steps = denoiser.schedule.num_timesteps
    method = SelectiveAmnesia(fisher_images=2, fisher_timesteps=steps)
    networks = {"student": denoiser}
    contexts = (labelled_context(method, denoiser, networks=networks) for _ in range(3))
    return denoiser, method.prepare(contexts)


def test_fisher_information_is_the_squared_gradient_of_the_whole_bound(
    prepared: tuple[Denoiser, dict], labelled_context: MakeContext
) -> None:
    """The sum over all timesteps comes before the square, timestep by timestep by hand."""
    denoiser, tensors = prepared
    side = labelled_context(SelectiveAmnesia(), denoiser).batch.retain
    steps = denoiser.schedule.num_timesteps
    expected = None
    for image in range(2):
        generator = torch.Generator().manual_seed(image)
        torch.rand(steps, generator=generator)
        eps = torch.randn(steps, 1, 8, 8, generator=generator)
        denoiser.network.zero_grad()
        for t in range(steps):
            at = torch.tensor([t])
            one = slice(image, image + 1)
            x_t = denoiser.schedule.add_noise(side.x0[one], eps[t : t + 1], at)
            own = denoiser(x_t, at, side.condition[one]).eps
            (own - eps[t]).square().sum().backward()
        squared = denoiser.network.get_parameter("conv_in.weight").grad.square() / 2
        expected = squared if expected is None else expected + squared
    assert_close(tensors[FISHER + "conv_in.weight"], expected, rtol=1e-3, atol=1e-3)
    assert all((value >= 0).all() for name, value in tensors.items() if name.startswith(FISHER))


def test_the_penalty_is_zero_at_the_original_weights_and_quadratic_beyond(
    prepared: tuple[Denoiser, dict],
) -> None:
    denoiser, tensors = prepared
    assert fisher_penalty(denoiser, tensors) == 0
    moved = denoiser.clone()
    with torch.no_grad():
        moved.network.get_parameter("conv_in.weight").add_(0.1)
    expected = 0.01 * tensors[FISHER + "conv_in.weight"].sum()
    assert_close(fisher_penalty(moved, tensors).detach(), expected, rtol=1e-3, atol=1e-6)
    assert tensors[ORIGINAL + "conv_in.weight"].equal(
        denoiser.network.get_parameter("conv_in.weight")
    )


def test_rows_to_forget_learn_uniform_noise_as_data(
    tiny_unet: Make, labelled_context: MakeContext
) -> None:
    method, denoiser = SelectiveAmnesia(), tiny_unet()
    from efface.methods.labelled import noise_sides

    ctx = labelled_context(method, denoiser, rows=16)
    _, forget = noise_sides(ctx)
    x_t, target = method.forget_rows(ctx, forget)
    alpha, sigma = (
        v[forget.t].view(-1, 1, 1, 1) for v in (denoiser.schedule.alphas, denoiser.schedule.sigmas)
    )
    x_u = (x_t - sigma * target) / alpha
    known = (alpha > 0.05).flatten()
    assert target.equal(forget.eps)
    assert x_u[known].abs().max() <= 1.001
    assert abs(float(x_u[known].mean())) < 0.1
    assert abs(float(x_u[known].var()) - 1 / 3) < 0.05


def test_a_heavy_penalty_holds_the_weights_that_matter(
    tiny_unet: Make, make_source: Callable[..., BatchSource], tmp_path: Path
) -> None:
    distances = {}
    for weight in (0.0, 1e6):
        method = SelectiveAmnesia(fisher_weight=weight, fisher_images=4, fisher_timesteps=10)
        denoiser = tiny_unet()
        settings = TrainSettings(steps=15, batch_size=4, learning_rate=1e-3, ema_decay=0.0)
        folder = tmp_path / str(weight)
        folder.mkdir()
        trainer = Trainer(
            method, method.networks(denoiser), make_source(method, denoiser), settings, folder
        )
        result = trainer.run()
        tensors = trainer.stepper.objects()["prepared"].tensors()
        distances[weight] = float(fisher_penalty(result.denoiser, tensors))
    assert distances[1e6] < 0.2 * distances[0.0]
