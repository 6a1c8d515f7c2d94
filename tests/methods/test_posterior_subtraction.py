"""D_R = (D - w a) / (1 - w): exact where everything is known, and a fixed point of the method."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from efface.data.batch import Batch, ImageBank, Side
from efface.data.randomness import RowRandom, Shard
from efface.diffusion.denoiser import UnconditionalDenoiser
from efface.diffusion.schedule import NoiseSchedule
from efface.methods.base import StepContext
from efface.methods.mixture import posterior_mean, posterior_shares, subtract
from efface.methods.naive_deletion import NaiveDeletion
from efface.methods.posterior_subtraction import PosteriorSubtraction

SIGMAS = torch.linspace(0.3, 0.99, 20)
SCHEDULE = NoiseSchedule((1 - SIGMAS.square()).sqrt(), SIGMAS)


class Exact(nn.Module):
    """The exact eps prediction for data that are `images` (N, 1, 2, 2) with `weights` (N,)."""

    def __init__(self, images: Tensor, weights: Tensor, shift: float = 0.0) -> None:
        super().__init__()
        self.images, self.weights = images, weights
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, x: Tensor, t: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        alpha, sigma = SCHEDULE.levels(t, x)
        distances = (x[:, None] - alpha[:, None] * self.images[None]).flatten(2).square().sum(2)
        logits = -distances / (2 * sigma.view(-1, 1).square()) + self.weights.log()
        mean = torch.einsum("bn,nchw->bchw", logits.softmax(1), self.images)
        return ((x - alpha * mean) / sigma + self.shift,)


def exact(images: Tensor, weights: Tensor, shift: float = 0.0) -> UnconditionalDenoiser:
    return UnconditionalDenoiser(
        network=Exact(images, weights, shift),
        schedule=SCHEDULE,
        kind="epsilon",
        sample_shape=(1, 2, 2),
        scheduler=None,
    )


def world(images: int = 1, prior: float = 0.1) -> tuple[ImageBank, UnconditionalDenoiser]:
    """Images to retain and to forget, and the model that was trained on both."""
    torch.manual_seed(0)
    retain, forget = torch.randn(6, 1, 2, 2), torch.randn(images, 1, 2, 2)
    weights = torch.cat([torch.full((6,), (1 - prior) / 6), torch.full((images,), prior / images)])
    return ImageBank(retain, forget, prior), exact(torch.cat([retain, forget]), weights)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("prior", [0.01, 0.3])
def test_subtraction_gives_the_model_trained_without_them(images: int, prior: float) -> None:
    bank, teacher = world(images, prior)
    torch.manual_seed(1)
    y = torch.cat([bank.retain, bank.forget]).repeat(40, 1, 1, 1)
    t = torch.randint(len(SIGMAS), (len(y),))
    m = SCHEDULE.add_noise(y, torch.randn_like(y), t)
    levels = SCHEDULE.levels(t, m)
    shares = posterior_shares(m, bank, levels)
    usable = shares.sum(1) < 0.9
    assert usable.sum() > 50
    got = subtract(teacher(m, t).x0, shares, bank.forget)[usable]
    assert_close(got, posterior_mean(m, bank.retain, levels)[usable], rtol=1e-3, atol=1e-3)


def context(
    bank: ImageBank, teacher: UnconditionalDenoiser, student: UnconditionalDenoiser
) -> StepContext:
    sides = [Side(size=60, x0=bank.retain.repeat(10, 1, 1, 1)),
             Side(size=20, x0=bank.forget[:1].repeat(20, 1, 1, 1))]  # fmt: skip
    return StepContext(
        step=0,
        steps=1,
        batch=Batch(retain=sides[0], forget=sides[1]),
        rng=RowRandom(0, Shard(), (60, 20), "cpu"),
        networks={"student": student, "teacher": teacher},
        bank=bank,
    )


def test_the_model_trained_without_them_is_the_fixed_point() -> None:
    bank, teacher = world()
    retrained = exact(bank.retain, torch.full((6,), 1 / 6))
    method = PosteriorSubtraction()
    terms = method.loss("student", context(bank, teacher, retrained))
    assert terms.forget is not None
    assert float(terms.retain) < 1e-4
    assert float(terms.forget) < 1e-4
    # The original model is not at it, nor is a model that is off by a little.
    original = method.loss("student", context(bank, teacher, teacher))
    assert original.forget is not None
    assert float(original.forget) > 0.05
    off = method.loss(
        "student", context(bank, teacher, exact(bank.retain, torch.full((6,), 1 / 6), 0.1))
    )
    assert float(off.total) > 0.01


def test_rows_above_tau_are_left_out() -> None:
    bank, teacher = world()
    left_out = [
        float(
            PosteriorSubtraction(tau=tau)
            .loss("student", context(bank, teacher, teacher))
            .logs["left_out"]
        )
        for tau in (0.05, 0.5, 0.95)
    ]
    assert left_out[0] > left_out[1] > left_out[2] >= 0


def test_rows_above_tau_can_be_pointed_at_the_retained_images() -> None:
    bank, teacher = world()
    retrained = exact(bank.retain, torch.full((6,), 1 / 6))
    method = PosteriorSubtraction(above_tau="neighbours", neighbours_from=0.0)
    terms = method.loss("student", context(bank, teacher, retrained))
    assert terms.forget is not None
    assert float(terms.logs["left_out"]) == 0
    # Here the retained images are all there is, so that the fixed point stays the same.
    assert float(terms.total.detach()) < 1e-4


def test_the_retain_term_of_others_can_regress_what_is_left() -> None:
    """Retained images noised, where the images' share counts: the exact answer, so no loss."""
    bank, teacher = world(prior=0.3)
    retrained = exact(bank.retain, torch.full((6,), 1 / 6))

    def retain(target: Literal["teacher", "subtracted"], student: UnconditionalDenoiser) -> float:
        method = NaiveDeletion(retain_target=target, tau=0.999)
        found = method.loss("student", context(bank, teacher, student)).retain
        assert found is not None
        return float(found.detach())

    assert retain("subtracted", retrained) < 1e-4
    assert retain("teacher", retrained) > 0.02 < retain("subtracted", teacher)
    assert retain("teacher", teacher) < 1e-6


def test_rows_that_hold_more_of_the_image_than_tau_keep_the_added_noise() -> None:
    """The noise that was added is no mean: the exact model has a loss on those rows."""
    bank, teacher = world(prior=0.3)
    retrained = exact(bank.retain, torch.full((6,), 1 / 6))
    losses = []
    for tau in (0.999, 0.1, 1e-6):
        method = NaiveDeletion(retain_target="subtracted", tau=tau)
        found = method.loss("student", context(bank, teacher, retrained)).retain
        assert found is not None
        losses.append(float(found.detach()))
    assert losses[0] < 1e-4 < losses[1] < losses[2]
