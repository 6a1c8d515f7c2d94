"""Flow matching as one more schedule and one more kind of prediction."""

from __future__ import annotations

import diffusers
import pytest
import torch
from torch.testing import assert_close

from efface.diffusion.prediction import Prediction
from efface.diffusion.schedule import NoiseSchedule
from efface.errors import ModelError

Euler = diffusers.FlowMatchEulerDiscreteScheduler


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_table_is_that_of_the_scheduler_with_its_shift(shift):
    schedule = NoiseSchedule.from_flow_scheduler(Euler(shift=shift))
    s = torch.arange(1, 1001, dtype=torch.float64) / 1000
    assert_close(schedule.sigmas.double(), shift * s / (1 + (shift - 1) * s), rtol=1e-6, atol=0)
    assert_close(schedule.alphas + schedule.sigmas, torch.ones(1000))
    assert (schedule.noise_to_signal.diff() > 0).all()
    assert schedule.has_zero_terminal_snr


def test_a_shift_that_depends_on_the_size_is_not_in_the_table():
    schedule = NoiseSchedule.from_flow_scheduler(Euler(shift=3.0, use_dynamic_shifting=True))
    assert_close(schedule.sigmas, torch.arange(1, 1001) / 1000)


def test_a_scheduler_that_was_used_gives_the_same_table():
    scheduler = Euler(shift=3.0)
    fresh = NoiseSchedule.from_flow_scheduler(scheduler)
    scheduler.set_timesteps(7)
    assert_close(NoiseSchedule.from_flow_scheduler(scheduler).sigmas, fresh.sigmas)


def test_noising_equals_the_schedulers_own():
    scheduler, t = Euler(shift=3.0), torch.tensor([0, 300, 999])
    x0, eps = torch.randn(2, 3, 4, 2, 2)
    schedule = NoiseSchedule.from_flow_scheduler(scheduler)
    stock = scheduler.scale_noise(x0, scheduler.timesteps[999 - t], eps)
    assert_close(schedule.add_noise(x0, eps, t), stock)


@pytest.mark.parametrize("ratio", [0.137, 2.5, 13.0])
def test_noise_levels_become_the_timestep_where_sigma_over_one_minus_sigma_is_theirs(ratio):
    schedule = NoiseSchedule.from_flow_scheduler(Euler())
    t = schedule.timestep_from_noise_to_signal(ratio)
    assert abs((t + 1) / 1000 - ratio / (1 + ratio)) <= 0.001


@pytest.mark.parametrize("timestep", [0, 100, 713, 999])
def test_truth_comes_back_from_eps_minus_x0(timestep):
    schedule = NoiseSchedule.from_flow_scheduler(Euler(shift=3.0))
    x0, eps = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.full((4,), timestep)
    x_t, levels = schedule.add_noise(x0, eps, t), schedule.levels(t, x0)
    prediction = Prediction.from_output(eps - x0, x_t, levels, "flow")
    assert_close(prediction.x0, x0, rtol=0, atol=2e-6)
    assert_close(prediction.eps, eps, rtol=0, atol=2e-6)
    assert_close(prediction.score, -eps / levels[1], rtol=1e-5, atol=1e-5)


def test_an_euler_step_is_the_ddim_step():
    schedule = NoiseSchedule.from_flow_scheduler(Euler())
    x0, eps = torch.randn(2, 1, 3, 4, 4)
    (t, s), output = (torch.tensor([700]), torch.tensor([300])), torch.randn(1, 3, 4, 4)
    x_t = schedule.add_noise(x0, eps, t)
    prediction = Prediction.from_output(output, x_t, schedule.levels(t, x_t), "flow")
    ddim = schedule.add_noise(prediction.x0, prediction.eps, s)
    assert_close(ddim, x_t + (schedule.sigmas[s] - schedule.sigmas[t]) * output)


def test_diffusion_schedules_are_still_not_read_off_a_flow_scheduler():
    with pytest.raises(ModelError, match="FlowMatchEulerDiscreteScheduler is not known"):
        NoiseSchedule.from_scheduler(Euler())
