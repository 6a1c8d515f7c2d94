"""SFR-on: which weights ascend, how rows are weighed, and that both steps take turns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from efface.diffusion.denoiser import Denoiser
from efface.methods.base import StepContext
from efface.methods.labelled import noise_sides
from efface.methods.saliency import denoising_loss
from efface.methods.sfr_on import SFROn

Make = Callable[..., Denoiser]
MakeContext = Callable[..., StepContext]


@pytest.fixture
def at(tiny_unet: Make, labelled_context: MakeContext) -> Callable[..., StepContext]:
    denoiser = tiny_unet()
    method = SFROn(mask_batches=2)
    networks = method.networks(denoiser)

    def context(step: int) -> StepContext:
        return labelled_context(method, denoiser, networks=networks, step=step, steps=8)

    prepared = method.prepare(context(step) for step in range(4))
    return lambda step: replace(context(step), prepared=prepared)


@pytest.mark.parametrize("step", [0, 2, 6])
def test_even_steps_ascend_where_the_mask_is(at: Callable[..., StepContext], step: int) -> None:
    ctx = at(step)
    terms = SFROn().loss("student", ctx)
    student = ctx.networks["student"]
    named = dict(student.network.named_parameters())
    found = torch.autograd.grad(terms.total, list(named.values()), materialize_grads=True)
    _, forget = noise_sides(at(step))
    losses = denoising_loss(student, forget)
    weights = losses.detach().rsqrt()
    ascent = 10 * (1 + math.cos(math.pi * step / 8)) / 2
    expected = -ascent * (losses * weights).sum() / weights.sum()
    assert_close(terms.total.detach(), expected.detach())
    wanted = torch.autograd.grad(expected, list(named.values()), materialize_grads=True)
    masks = ctx.prepared
    assert 0 < sum(int(m.sum()) for m in masks.values()) < sum(m.numel() for m in masks.values())
    for name, one, other in zip(named, found, wanted, strict=True):
        assert_close(one, other * masks[name])


def test_odd_steps_retain(at: Callable[..., StepContext]) -> None:
    terms = SFROn().loss("student", at(3))
    retain, _ = noise_sides(at(3))
    student = at(3).networks["student"]
    assert terms.forget is None
    assert_close(terms.retain, denoising_loss(student, retain).mean())


def test_the_mask_is_where_the_forget_set_has_more_information(
    at: Callable[..., StepContext],
) -> None:
    """Recomputed over the same two batches, parameter by parameter."""
    squares = []
    for side in range(2):
        total = torch.zeros(())
        for step in range(2):
            ctx = at(step)
            student = ctx.networks["student"]
            loss = denoising_loss(student, noise_sides(ctx)[side]).mean()
            found = torch.autograd.grad(
                loss, list(student.network.parameters()), materialize_grads=True
            )
            flat = torch.cat([part.flatten() for part in found])
            total = total + (flat / flat.norm().clamp_min(1)).square()
        squares.append(total)
    mask = torch.cat([part.flatten() for part in at(0).prepared.values()])
    expected = squares[1] >= squares[0]
    assert float((mask == expected).float().mean()) > 0.999
