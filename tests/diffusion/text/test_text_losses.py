"""SFD and SISS on every family: the same files, and one float64 reference for all kinds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from efface.data.batch import Batch, NegativeGuidance, Side
from efface.data.randomness import RowRandom, Shard
from efface.diffusion.denoiser import Condition
from efface.diffusion.text.denoiser import TextDenoiser, as_text_denoiser
from efface.methods.base import LossTerms, StepContext
from efface.methods.sfd import SFD
from efface.methods.siss import SISS

Make = Callable[..., TextDenoiser]
GUIDED = SFD(
    alpha=1.2,
    teacher_guidance=2.0,
    fake_score_guidance=1.5,
    fake_score_training_guidance=3.0,
    student_forget_weight=0.3,
    fake_score_forget_weight=0.3,
)
RETAIN, FORGET = 3, 2
SIDES = (RETAIN, FORGET)


def perturbed(denoiser: TextDenoiser, seed: int) -> TextDenoiser:
    clone = denoiser.clone()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in clone.network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return clone


def prompt_batch(denoiser: TextDenoiser) -> Batch:
    kept, gone = denoiser.encode(["a cat", "a dog", "a coat"]), denoiser.encode(["a bag"] * 2)
    instead = denoiser.encode(["a coat", "a cat"])
    return Batch(
        retain=Side(size=3, condition=kept, target=kept),
        forget=Side(size=2, condition=gone, target=instead),
    )


def sfd_context(denoiser: TextDenoiser) -> StepContext:
    networks = {
        "teacher": denoiser.frozen(),
        "fake_score": perturbed(denoiser, 1),
        "student": perturbed(denoiser, 2),
    }
    return StepContext(
        step=0,
        steps=1,
        batch=prompt_batch(denoiser),
        rng=RowRandom(5, Shard(), SIDES, "cpu"),
        networks=networks,
    )


def siss_context(denoiser: TextDenoiser) -> StepContext:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, *denoiser.sample_shape, generator=generator)
    # Near enough that both arms have weight at many noise levels.
    a = x + 0.1 * torch.randn(x.shape, generator=generator)
    sides = Side(size=6, x0=x), Side(size=6, x0=a)
    return StepContext(
        step=0,
        steps=1,
        batch=Batch(retain=sides[0], forget=sides[1]),
        rng=RowRandom(7, Shard(), (6, 6), "cpu"),
        networks={"student": denoiser.clone().with_prompt("a cat")},
    )


@pytest.mark.parametrize("phase", SFD.phases)
def test_sfd_gives_a_gradient_to_every_family(text_model: Make, kind: str, phase: str) -> None:
    ctx = sfd_context(text_model(kind))
    terms = GUIDED.loss(phase, ctx)
    terms.total.backward()
    assert terms.total.isfinite()
    gradients = [p.grad for p in ctx.networks[phase].network.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert sum(float(g.abs().sum()) for g in gradients) > 0


def test_rows_are_guided_away_from_a_prompt_with_a_guidance_of_their_own(
    text_model: Make, kind: str
) -> None:
    """As if the teacher had that null condition and that guidance; other rows are as they were."""
    ctx = sfd_context(text_model(kind))
    led = torch.arange(RETAIN + FORGET) < RETAIN
    condition = as_text_denoiser(ctx.networks["teacher"]).encode(["a bag"])
    guidance = torch.full(led.shape, 2.5)
    negative = NegativeGuidance(rows=led, condition=condition, guidance=guidance)
    teacher = as_text_denoiser(ctx.networks["teacher"]).with_negative_prompt("a bag")

    def losses(method: SFD, **changes: Any) -> LossTerms:
        anew = {"rng": RowRandom(5, Shard(), SIDES, "cpu"), "memo": {}}
        return method.loss("student", replace(ctx, **(anew | changes)))

    for method in (GUIDED, replace(GUIDED, teacher_guidance=1.0)):
        found, plain = losses(method, batch=replace(ctx.batch, negative=negative)), losses(method)
        strongly = replace(method, teacher_guidance=2.5)
        expected = losses(strongly, networks={**ctx.networks, "teacher": teacher})
        assert found.forget is not None and plain.forget is not None
        assert_close(found.retain, expected.retain)
        assert_close(found.forget, plain.forget)
        assert abs(float(found.retain.detach() - plain.retain.detach())) > 1e-4


def test_siss_gives_both_gradients_to_every_family(text_model: Make, kind: str) -> None:
    ctx = siss_context(text_model(kind))
    terms = SISS().loss("student", ctx)
    parameters = [p for p in ctx.networks["student"].network.parameters() if p.requires_grad]
    assert terms.forget is not None
    for term in (terms.retain, terms.forget):
        assert term.isfinite()
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0


class Reference:
    """One network of a run in float64, called as its stock pipeline calls it."""

    def __init__(self, denoiser: Any) -> None:
        self.denoiser, config = denoiser, denoiser.scheduler.config
        self.network = copy.deepcopy(denoiser.network).double()
        self.flow = denoiser.family.name == "sd3"
        if self.flow:
            s = torch.arange(1, 1001, dtype=torch.float64) / 1000
            self.sigmas = config.shift * s / (1 + (config.shift - 1) * s)
            self.alphas = 1 - self.sigmas
        else:
            betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, 1000) ** 2
            cumulated = torch.from_numpy(np.cumprod(1 - betas))
            self.alphas, self.sigmas = cumulated.sqrt(), (1 - cumulated).sqrt()

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.alphas[t].view(-1, 1, 1, 1), self.sigmas[t].view(-1, 1, 1, 1)

    def nearest(self, ratio: float) -> int:
        logs = (self.sigmas / self.alphas).log() - math.log(ratio)
        return int(logs.abs().nan_to_num(posinf=1e9).argmin())

    def output(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        tensors = {name: tensor.double() for name, tensor in condition.tensors.items()}
        time = 1000 * self.sigmas[t] if self.flow else t
        return self.network(x_t, timestep=time, **tensors).sample

    def guided(self, x_t: Tensor, t: Tensor, condition: Condition, guidance: float) -> Tensor:
        null = self.output(x_t, t, self.denoiser.null(condition))
        return null + guidance * (self.output(x_t, t, condition) - null)

    def x0(self, x_t: Tensor, t: Tensor, condition: Condition, guidance: float = 1.0) -> Tensor:
        out, (alpha, sigma) = self.guided(x_t, t, condition, guidance), self.levels(t)
        if self.flow:
            return x_t - sigma * out
        if self.denoiser.scheduler.config.prediction_type == "v_prediction":
            return alpha * x_t - sigma * out
        return (x_t - sigma * out) / alpha

    def eps(self, x_t: Tensor, t: Tensor, condition: Condition, guidance: float = 1.0) -> Tensor:
        alpha, sigma = self.levels(t)
        return (x_t - alpha * self.x0(x_t, t, condition, guidance)) / sigma


def per_side(losses: Tensor, weight: float) -> Tensor:
    return losses[:RETAIN].mean() + weight * losses[RETAIN:].mean()


@torch.no_grad()
@pytest.mark.parametrize("phase", SFD.phases)
@pytest.mark.parametrize("parameterisation", ["sd", "sd_v", "sd3"])
def test_sfd_equals_one_float64_reference_in_every_parameterisation(
    text_model: Make, parameterisation: str, phase: str
) -> None:
    ctx = sfd_context(text_model(parameterisation))
    loss = GUIDED.loss(phase, ctx).total
    student, fake, teacher = (
        Reference(ctx.networks[n]) for n in ("student", "fake_score", "teacher")
    )
    condition, target = ctx.batch.condition, ctx.batch.target
    assert condition is not None
    assert target is not None
    rng, shape = RowRandom(5, Shard(), SIDES, "cpu"), ctx.networks["teacher"].sample_shape
    z = rng.normal(shape).double()
    x = student.x0(z, torch.full((5,), teacher.nearest(2.5)), condition)
    t = rng.integers(teacher.nearest(0.137), teacher.nearest(13.0) + 1)
    eps = rng.normal(shape).double()
    alpha, sigma = teacher.levels(t)
    x_t = alpha * x + sigma * eps
    if phase == "fake_score":
        losses = (eps - fake.eps(x_t, t, condition, 3.0)).square().sum((1, 2, 3))
    else:
        p, q = teacher.x0(x_t, t, target, 2.0), fake.x0(x_t, t, condition, 1.5)
        omega = (p - x).abs().mean((1, 2, 3), keepdim=True)
        losses = ((p - q) * ((p - x) - 1.2 * (p - q)) / omega).sum((1, 2, 3))
    assert_close(loss.double(), per_side(losses, 0.3), rtol=1e-4, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("parameterisation", ["sd", "sd_v", "sd3"])
def test_siss_equals_one_float64_reference_in_every_parameterisation(
    text_model: Make, parameterisation: str
) -> None:
    denoiser = text_model(parameterisation)
    ctx = siss_context(denoiser)
    terms = SISS(mixture=0.4, arms="bernoulli").loss("student", ctx)
    x, a = ctx.batch.retain.x0, ctx.batch.forget.x0
    assert x is not None
    assert a is not None
    x, a = x.double(), a.double()
    rng, student = RowRandom(7, Shard(), (6, 6), "cpu"), Reference(ctx.networks["student"])
    t, eps = rng.integers(0, 1000)[:6], rng.normal(denoiser.sample_shape)[:6].double()
    alpha, sigma = student.levels(t)
    arm = (rng.uniform()[:6] < 0.4).view(-1, 1, 1, 1)
    m = alpha * torch.where(arm, a, x) + sigma * eps
    density_x, density_a = (
        -((m - alpha * y).square().sum((1, 2, 3)) / (2 * sigma.flatten() ** 2)) for y in (x, a)
    )
    odds = density_a - density_x
    w_x, w_a = 1 / (0.6 + 0.4 * odds.exp()), 1 / (0.6 * (-odds).exp() + 0.4)
    assert ((w_x > 0.01) & (w_a > 0.01)).any()  # some rows do belong to both
    eps_m = student.eps(m, t, denoiser.encode(["a cat"] * 6))

    def term(weights: Tensor, y: Tensor) -> Tensor:
        off = (eps_m - (m - alpha * y) / sigma).square().sum((1, 2, 3))
        return torch.where(weights > 1e-6, weights * off, 0.0).mean()

    assert terms.forget is not None
    assert_close(terms.retain.double(), term(w_x, x), rtol=1e-4, atol=0)
    assert_close(terms.forget.double(), -term(w_a, a), rtol=1e-4, atol=0)
