"""Round trips between the parameterisations, in float32."""

from __future__ import annotations

from typing import get_args

import diffusers
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from efface.diffusion.prediction import Prediction, PredictionKind
from efface.diffusion.schedule import NoiseSchedule

KINDS = get_args(PredictionKind)
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")


def known(seed: int = 0) -> tuple[Tensor, Tensor]:
    """A clean sample in [-1, 1] and its noise, (4, 3, 8, 8)."""
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(4, 3, 8, 8, generator=generator) * 2 - 1
    return x0, torch.randn(4, 3, 8, 8, generator=generator)


def output_of(
    kind: PredictionKind, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    v = alpha * eps - sigma * x0
    return {"epsilon": eps, "sample": x0, "v_prediction": v, "flow": eps - x0}[kind]


def predict(kind: PredictionKind, schedule: NoiseSchedule, timestep: int) -> Prediction:
    """What a network says that knows the truth."""
    x0, eps = known()
    x_t = schedule.add_noise(x0, eps, torch.full((4,), timestep))
    levels = schedule.levels(torch.full((4,), timestep), x_t)
    output = output_of(kind, x0, eps, *levels)
    return Prediction.from_output(output, x_t, levels, kind)


def schedule_of(beta_schedule: str, zero_snr: bool = False) -> NoiseSchedule:
    return NoiseSchedule.from_scheduler(
        diffusers.DDIMScheduler(beta_schedule=beta_schedule, rescale_betas_zero_snr=zero_snr)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beta_schedule", BETA_SCHEDULES)
@pytest.mark.parametrize("timestep", [0, 38, 440, 711, 999])
def test_truth_comes_back_from_every_kind(kind, beta_schedule, timestep):
    x0, eps = known()
    schedule = schedule_of(beta_schedule)
    alpha, sigma = schedule.alphas[timestep], schedule.sigmas[timestep]
    prediction = predict(kind, schedule, timestep)
    # A rounding error of x_t is 1 / alpha times as large in x0, and 1 / sigma times in eps.
    rounding = 5e-7
    in_x0, in_eps = float(rounding / alpha), float(rounding / sigma)
    assert_close(prediction.x0, x0, rtol=0, atol=in_x0)
    assert_close(prediction.eps, eps, rtol=0, atol=in_eps)
    v = alpha * eps - sigma * x0
    assert_close(prediction.v, v, rtol=0, atol=max(in_x0, in_eps))
    assert_close(prediction.score, -eps / sigma, rtol=0, atol=in_eps / float(sigma))


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_finite_and_float32_at_the_last_timestep(kind):
    prediction = predict(kind, schedule_of("linear"), 999)
    x0, _ = known()
    for what in (prediction.x0, prediction.eps, prediction.v, prediction.score):
        assert what.dtype == torch.float32
        assert what.isfinite().all()
    assert_close(prediction.x0, x0, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_score_is_the_gradient_of_the_log_density_around_a_known_sample(kind):
    x0, eps = known()
    schedule, t = schedule_of("linear"), torch.full((4,), 440)
    alpha, sigma = schedule.levels(t, x0)
    x_t = schedule.add_noise(x0, eps, t).requires_grad_()
    log_density = torch.distributions.Normal(alpha * x0, sigma).log_prob(x_t).sum()
    (gradient,) = torch.autograd.grad(log_density, x_t)
    assert_close(predict(kind, schedule, 440).score, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_v_equals_the_schedulers_velocity(kind):
    x0, eps = known()
    t = torch.full((4,), 440)
    velocity = diffusers.DDIMScheduler().get_velocity(x0, eps, t)
    assert_close(predict(kind, schedule_of("linear"), 440).v, velocity, rtol=0, atol=5e-6)


@pytest.mark.parametrize("kind", ["v_prediction", "sample"])
def test_other_kinds_work_where_no_signal_is_left(kind):
    prediction = predict(kind, schedule_of("linear", zero_snr=True), 999)
    x0, eps = known()
    assert_close(prediction.x0, x0)
    assert_close(prediction.eps, eps)
    assert_close(prediction.v, -x0)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_outputs_are_read_in_float32(kind):
    schedule, (x0, eps) = schedule_of("linear"), known()
    t = torch.full((4,), 999)
    x_t, levels = schedule.add_noise(x0, eps, t), schedule.levels(t, x0)
    output = output_of(kind, x0, eps, *levels).bfloat16()
    coarse = Prediction.from_output(output, x_t, levels, kind)
    fine = Prediction.from_output(output.float(), x_t, levels, kind)
    for name in ("x0", "eps", "v", "score"):
        assert getattr(coarse, name).dtype == torch.float32
        assert_close(getattr(coarse, name), getattr(fine, name), rtol=0, atol=0)
