"""Baselines on labelled images: both terms are sums over pixels and means over rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from efface.data.randomness import RowRandom, Shard
from efface.diffusion.denoiser import Denoiser
from efface.methods.base import StepContext
from efface.methods.labelled import noise_sides
from efface.methods.relabel import Relabel

Make = Callable[..., Denoiser]
MakeContext = Callable[..., StepContext]


def test_every_side_has_timesteps_noise_and_labels_of_its_own(
    tiny_unet: Make, labelled_context: MakeContext
) -> None:
    ctx = labelled_context(Relabel(), tiny_unet())
    retain, forget = noise_sides(ctx)
    levels = ctx.networks["student"].schedule
    for side, rows in ((retain, ctx.batch.retain), (forget, ctx.batch.forget)):
        alpha, sigma = (v[side.t].view(-1, 1, 1, 1) for v in (levels.alphas, levels.sigmas))
        assert_close(side.x_t, alpha * rows.x0 + sigma * side.eps)
    assert forget.condition.tensors["class_labels"].tolist() == [0] * 4
    assert forget.target.tensors["class_labels"].tolist() == [1] * 4
    assert 0 not in retain.condition.tensors["class_labels"].tolist()
    assert not retain.eps.equal(forget.eps)


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.07])
def test_the_loss_is_a_sum_over_pixels_and_a_mean_over_rows(
    tiny_unet: Make, labelled_context: MakeContext, weight: float
) -> None:
    """By hand, row by row, with the student's own prediction as the target."""
    ctx = labelled_context(Relabel(retain_weight=weight), tiny_unet())
    terms = Relabel(retain_weight=weight).loss("student", ctx)
    rng = RowRandom(7, Shard(), (4, 4), "cpu")
    student = ctx.networks["student"]
    t, eps = rng.integers(0, student.schedule.num_timesteps), rng.normal((1, 8, 8))
    x0 = torch.cat([ctx.batch.retain.x0, ctx.batch.forget.x0])  # pyright: ignore
    retain, forget = 0.0, 0.0
    for row in range(8):
        one = slice(row, row + 1)
        x_t = student.schedule.add_noise(x0[one], eps[one], t[one])
        condition = ctx.batch.condition
        assert condition is not None and ctx.batch.target is not None
        own = student(x_t, t[one], condition[one]).eps
        if row < 4:
            retain += (own - eps[one]).square().sum().item() / 4
        else:
            other = student(x_t, t[one], ctx.batch.target[one]).eps
            forget += (own - other).square().sum().item() / 4
    assert terms.forget is not None
    assert_close(float(terms.retain.detach()), weight * retain, rtol=1e-4, atol=1e-4)
    assert_close(float(terms.forget.detach()), forget, rtol=1e-4, atol=1e-4)


def test_the_target_takes_no_gradient(tiny_unet: Make, labelled_context: MakeContext) -> None:
    """Only the pass under the forgotten label does, so the retained labels' rows are not moved."""
    method, denoiser = Relabel(retain_weight=0.0), tiny_unet()
    ctx = labelled_context(method, denoiser)
    terms = method.loss("student", ctx)
    assert terms.forget is not None
    terms.forget.backward()
    table = ctx.networks["student"].network.get_parameter("class_embedding.weight").grad
    assert table is not None and table[0].abs().sum() > 0 and not table[1:].any()


def test_a_batch_may_be_seen_in_parts(tiny_unet: Make, labelled_context: MakeContext) -> None:
    """The mean over the losses of both halves is that of the whole batch."""
    method, denoiser = Relabel(), tiny_unet()
    whole = method.loss("student", labelled_context(method, denoiser))
    parts = []
    for index in range(2):
        ctx = labelled_context(method, denoiser)
        shard = Shard(index, 2)
        rng = RowRandom(7, shard, (2, 2), "cpu")
        rows = slice(2 * index, 2 * index + 2)

        def half(side, rows=rows):
            return replace(
                side,
                size=2,
                x0=side.x0[rows],
                condition=side.condition[rows],
                target=side.target[rows],
            )

        batch = replace(ctx.batch, retain=half(ctx.batch.retain), forget=half(ctx.batch.forget))
        parts.append(method.loss("student", replace(ctx, batch=batch, rng=rng)))
    assert_close(sum(part.total for part in parts) / 2, whole.total)
