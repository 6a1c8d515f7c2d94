"""Ordinary training: its target in every parameterisation, against what x0 and eps say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from torch.testing import assert_close

from efface.data.batch import Batch, Side
from efface.data.randomness import RowRandom, Shard
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.prediction import PREDICTION_KINDS, Prediction, PredictionKind
from efface.diffusion.schedule import NoiseSchedule
from efface.diffusion.text.denoiser import TextDenoiser
from efface.methods.base import StepContext
from efface.training.denoising import Denoising

ROWS = 6
Make = Callable[..., Denoiser]


class Knowing(nn.Module):
    """A network that knows x0, and answers in the kind of its choice."""

    def __init__(self, x0: Tensor, kind: PredictionKind, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.x0, self.kind, self.schedule = x0, kind, schedule
        self.theta = nn.Parameter(torch.zeros(()))  # how far it is off, at every pixel

    def forward(self, x_t: Tensor, t: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        del return_dict
        alpha, sigma = self.schedule.levels(t, x_t)
        eps = (x_t - alpha * self.x0) / sigma
        v = alpha * eps - sigma * self.x0
        answers = {"epsilon": eps, "sample": self.x0, "v_prediction": v, "flow": eps - self.x0}
        return (answers[self.kind] + self.theta,)


def flow_schedule(shift: float = 1.0) -> NoiseSchedule:
    return NoiseSchedule.from_flow_scheduler(FlowMatchEulerDiscreteScheduler(shift=shift))


def known(shape: tuple[int, ...] = (1, 8, 8)) -> tuple[Tensor, Tensor, Tensor]:
    """x0, eps (B, ...) and t (B,)."""
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, ROWS, *shape, generator=generator)
    return x0, eps, torch.tensor([0, 1, 250, 600, 998, 999])


def context(denoiser: Denoiser, x0: Tensor, asked: Any = None) -> StepContext:
    return StepContext(
        step=0,
        steps=1,
        batch=Batch(
            retain=Side(size=len(x0), x0=x0, condition=asked, target=asked), forget=Side(size=0)
        ),
        rng=RowRandom(3, Shard(), (len(x0), 0), "cpu"),
        networks={"student": denoiser},
    )


def model(tiny_unet: Make, kind: PredictionKind) -> Denoiser:
    if kind != "flow":
        return tiny_unet(conditional=False, prediction=kind)
    plain = tiny_unet(conditional=False)
    return dataclasses.replace(plain, kind=kind, schedule=flow_schedule(3.0))


@pytest.mark.parametrize("kind", PREDICTION_KINDS)
def test_the_loss_is_zero_for_who_knows_the_picture_and_one_where_it_is_one_off(
    tiny_unet: Make, kind: PredictionKind
) -> None:
    denoiser, (x0, _, _) = model(tiny_unet, kind), known()
    network = Knowing(x0, kind, denoiser.schedule)
    ctx = context(denoiser.with_network(network), x0)
    assert_close(Denoising().loss("student", ctx).retain, torch.tensor(0.0), rtol=0, atol=1e-6)
    nn.init.ones_(network.theta)
    ctx = context(denoiser.with_network(network), x0)
    assert_close(Denoising().loss("student", ctx).retain, torch.tensor(1.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", PREDICTION_KINDS)
def test_the_target_reads_as_the_picture_and_its_noise(
    tiny_unet: Make, kind: PredictionKind
) -> None:
    denoiser, (x0, eps, t) = model(tiny_unet, kind), known()
    t = t.clamp(1, 990)  # where rounding is not magnified
    x_t, levels = denoiser.schedule.add_noise(x0, eps, t), denoiser.schedule.levels(t, x0)
    told = Prediction.from_output(denoiser.target(x0, eps, t), x_t, levels, kind)
    assert_close(told.x0, x0, rtol=0, atol=1e-3)
    assert_close(told.eps, eps, rtol=0, atol=1e-3)


def test_the_target_of_flow_matching_is_the_velocity_of_the_path(tiny_unet: Make) -> None:
    """D x_t / d sigma of x_t = (1 - sigma) x0 + sigma eps, by automatic differentiation."""
    denoiser, (x0, eps, t) = model(tiny_unet, "flow"), known()
    sigma = denoiser.schedule.sigmas[t].view(-1, 1, 1, 1)
    path, velocity = torch.func.jvp(
        lambda s: (1 - s) * x0 + s * eps, (sigma,), (torch.ones_like(sigma),)
    )
    assert_close(denoiser.schedule.add_noise(x0, eps, t), path)
    assert_close(denoiser.target(x0, eps, t), velocity, rtol=0, atol=1e-6)


def test_the_target_of_v_prediction_is_the_angular_velocity_of_the_path(tiny_unet: Make) -> None:
    """D x_phi / d phi of x_phi = cos phi x0 + sin phi eps (Salimans & Ho, 2022)."""
    denoiser, (x0, eps, t) = model(tiny_unet, "v_prediction"), known()
    alpha, sigma = denoiser.schedule.levels(t, x0)
    phi = torch.atan2(sigma, alpha)
    _, velocity = torch.func.jvp(
        lambda angle: angle.cos() * x0 + angle.sin() * eps, (phi,), (torch.ones_like(phi),)
    )
    assert_close(denoiser.target(x0, eps, t), velocity, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sd", "sd_v", "sd3", "flux"])
def test_the_loss_of_a_text_model_is_that_of_its_stock_training_script(
    text_model: Callable[..., TextDenoiser], kind: str
) -> None:
    """Noised and with the target as diffusers' training examples write them, by its scheduler."""
    denoiser = text_model(kind)
    x0 = torch.randn(4, *denoiser.sample_shape, generator=torch.Generator().manual_seed(1))
    asked = denoiser.encode(["a cat", "a bag", "two bags", "a coat"])
    loss = Denoising(condition_dropout=0.0).loss("student", context(denoiser, x0, asked)).retain
    rng = RowRandom(3, Shard(), (4, 0), "cpu")
    t, eps = rng.integers(0, 1000), rng.normal(denoiser.sample_shape)
    stock = denoiser.scheduler
    if kind in ("sd3", "flux"):
        sigma = type(stock).from_config(stock.config).sigmas[999 - t].view(-1, 1, 1, 1)
        x_t, target = (1 - sigma) * x0 + sigma * eps, eps - x0
    else:
        x_t, target = stock.add_noise(x0, eps, t), eps
        if kind == "sd_v":
            target = stock.get_velocity(x0, eps, t)
    output = denoiser(x_t, t, asked).output
    assert_close(loss, (output - target).square().mean(), rtol=1e-5, atol=0)


def test_conditions_are_dropped_for_their_share_of_the_rows(tiny_unet: Make) -> None:
    denoiser = tiny_unet()
    x0 = torch.zeros(400, *denoiser.sample_shape)
    met: list[Tensor] = []
    denoiser.network.register_forward_pre_hook(
        lambda _module, _args, kwargs: met.append(kwargs["class_labels"]), with_kwargs=True
    )
    asked = denoiser.encode([3] * 400)
    Denoising(condition_dropout=0.25).loss("student", context(denoiser, x0, asked))
    Denoising(condition_dropout=0.0).loss("student", context(denoiser, x0, asked))
    assert 0.15 < float((met[0] == 10).float().mean()) < 0.35
    assert met[1].tolist() == [3] * 400
