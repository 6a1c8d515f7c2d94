"""ReTrack: its target is a kernel mean of retained neighbours, in float32 under autocast too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close

from efface.data.batch import ImageBank
from efface.diffusion.denoiser import UnconditionalDenoiser
from efface.methods.base import StepContext
from efface.methods.pairs import Pairs
from efface.methods.retrack import ReTrack


@pytest.fixture
def step(
    linear: UnconditionalDenoiser, pair_context: Callable[..., StepContext]
) -> Callable[[ReTrack], tuple[StepContext, Pairs, Tensor]]:
    """A context, its pairs and the noised images to forget; retained images lie near these."""

    def make(method: ReTrack) -> tuple[StepContext, Pairs, Tensor]:
        generator = torch.Generator().manual_seed(0)
        forget = torch.randn(2, 1, 2, 2, generator=generator)
        near = torch.randn(30, 1, 2, 2, generator=generator)
        retain = forget.repeat(15, 1, 1, 1) + 0.3 * near
        a = forget[torch.tensor([0, 1, 1, 0, 1])]
        ctx = pair_context(linear, retain[:5], a, bank=ImageBank(retain, forget, 0.1))
        pairs = method.pairs(ctx)
        return ctx, pairs, pairs.noised(pairs.a)

    return make


def by_hand(pairs: Pairs, bank: ImageBank, m: Tensor, neighbours: int) -> Tensor:
    """Row by row, in float64."""
    means = []
    for row in range(len(m)):
        a = pairs.a[row].double()
        alpha, sigma = (level[row].double().item() for level in pairs.levels)
        order = (bank.retain.double() - a).flatten(1).norm(dim=1).argsort()[:neighbours]
        near = bank.retain.double()[order]
        distance = (m[row].double() - alpha * near).flatten(1).square().sum(1)
        weights = (-distance / (2 * sigma**2)).softmax(0)
        means.append((weights.view(-1, 1, 1, 1) * near).sum(0))
    return torch.stack(means)


@pytest.mark.parametrize("neighbours", [1, 7])
def test_the_target_is_the_kernel_mean_of_the_nearest_retained_images(
    neighbours: int, step: Any
) -> None:
    method = ReTrack(neighbours=neighbours)
    ctx, pairs, m = step(method)
    expected = by_hand(pairs, ctx.bank, m, neighbours)
    assert_close(method._neighbour_mean(ctx, pairs, m).double(), expected, rtol=1e-5, atol=1e-5)


def test_the_target_stays_float32_under_autocast(step: Any) -> None:
    """Divided by sigma it is a noise: bfloat16 would add some of its own."""
    method = ReTrack()
    ctx, pairs, m = step(method)
    plain = method._neighbour_mean(ctx, pairs, m)
    with torch.autocast("cpu", torch.bfloat16):
        cast = method._neighbour_mean(ctx, pairs, m)
    assert cast.dtype == torch.float32
    assert cast.equal(plain)


def test_terms_share_the_weight(step: Any) -> None:
    halves, forget = (
        method.loss("student", step(method)[0]) for method in (ReTrack(), ReTrack(weight=1.0))
    )
    retain = ReTrack(weight=0.0).loss("student", step(ReTrack())[0])
    assert_close(halves.retain, retain.retain / 2)
    assert_close(halves.forget, forget.forget / 2)
    assert float(forget.retain) == float(retain.forget) == 0


@pytest.mark.parametrize(("name", "value"), [("weight", 1.5), ("weight", -0.1), ("neighbours", 0)])
def test_impossible_values_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=name):
        ReTrack(**{name: value})  # pyright: ignore[reportArgumentType]
