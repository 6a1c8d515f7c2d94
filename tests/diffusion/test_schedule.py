"""The noise schedule against diffusers, closed forms and published numbers."""

from __future__ import annotations

import math

import diffusers
import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from efface.diffusion.schedule import NoiseSchedule
from efface.diffusion.scheduler_files import KNOWN_SCHEDULERS
from efface.errors import ModelError

BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")


def linear() -> NoiseSchedule:
    return NoiseSchedule.from_scheduler(diffusers.DDIMScheduler())


def stable_diffusion() -> NoiseSchedule:
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    )
    return NoiseSchedule.from_scheduler(scheduler)


@pytest.mark.parametrize("beta_schedule", BETA_SCHEDULES)
@pytest.mark.parametrize("zero_snr", [False, True])
def test_signal_and_noise_powers_sum_to_one(beta_schedule, zero_snr):
    scheduler = diffusers.DDIMScheduler(
        beta_schedule=beta_schedule, rescale_betas_zero_snr=zero_snr
    )
    schedule = NoiseSchedule.from_scheduler(scheduler)
    assert schedule.alphas.dtype == schedule.sigmas.dtype == torch.float32
    assert_close(schedule.alphas**2 + schedule.sigmas**2, torch.ones(1000))
    assert (schedule.noise_to_signal.diff() > 0).all()


def test_linear_levels_follow_from_the_betas():
    betas = np.linspace(1e-4, 2e-2, 1000)
    alphas = np.sqrt(np.cumprod(1 - betas))
    assert_close(linear().alphas, torch.from_numpy(alphas).float(), rtol=2e-5, atol=0)
    sigmas = torch.from_numpy(np.sqrt(1 - alphas**2)).float()
    assert_close(linear().sigmas, sigmas, rtol=2e-4, atol=0)


# Published: score-forgetting-distillation, DDPM/evaluator.py:1018 and SD/train.py defaults
# (t_min, t_init, and the largest timestep used, which is t_max - 1).
@pytest.mark.parametrize(
    ("schedule", "timesteps"),
    [(linear, (38, 440, 711)), (stable_diffusion, (20, 625, 979))],
)
def test_published_noise_levels_become_the_published_timesteps(schedule, timesteps):
    found = [schedule().timestep_from_noise_to_signal(s) for s in (0.137, 2.50, 13.0)]
    assert tuple(found) == timesteps


def test_published_alpha_sigma_and_ratio_at_the_start_timestep():
    schedule = linear()
    levels = schedule.alphas[440], schedule.sigmas[440], schedule.noise_to_signal[440]
    assert [round(float(x), 4) for x in levels] == [0.3711, 0.9286, 2.5023]


@pytest.mark.parametrize("beta_schedule", BETA_SCHEDULES)
def test_timestep_from_noise_to_signal_inverts_the_table(beta_schedule):
    scheduler = diffusers.DDIMScheduler(beta_schedule=beta_schedule, rescale_betas_zero_snr=True)
    schedule = NoiseSchedule.from_scheduler(scheduler)
    ratios = schedule.noise_to_signal[:-1].tolist()  # the last is infinite
    assert [schedule.timestep_from_noise_to_signal(r) for r in ratios] == list(range(999))


def test_timestep_is_nearest_on_a_logarithmic_scale():
    schedule = linear()
    low, high = schedule.noise_to_signal[:2].tolist()
    assert 1.001 * math.sqrt(low * high) < (low + high) / 2
    assert schedule.timestep_from_noise_to_signal(0.999 * math.sqrt(low * high)) == 0
    assert schedule.timestep_from_noise_to_signal(1.001 * math.sqrt(low * high)) == 1
    table = np.log(schedule.noise_to_signal.numpy())
    for ratio in np.exp(np.random.default_rng(0).uniform(np.log(0.005), np.log(200), 50)):
        expected = int(np.abs(table - np.log(ratio)).argmin())
        assert schedule.timestep_from_noise_to_signal(float(ratio)) == expected


@pytest.mark.parametrize("name", KNOWN_SCHEDULERS)
def test_every_known_scheduler_of_the_same_betas_gives_the_same_table(name):
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    schedule = NoiseSchedule.from_scheduler(getattr(diffusers, name)(**betas))
    assert_close(schedule.alphas, stable_diffusion().alphas, rtol=0, atol=0)
    assert_close(schedule.sigmas, stable_diffusion().sigmas, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 3, 5), ()])
def test_add_noise_equals_the_schedulers_own(shape):
    scheduler = diffusers.DDIMScheduler()
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(5, *shape, generator=generator) for _ in range(2))
    t = torch.tensor([0, 1, 440, 711, 999])
    assert_close(
        NoiseSchedule.from_scheduler(scheduler).add_noise(x0, eps, t),
        scheduler.add_noise(x0, eps, t),
    )


@pytest.mark.parametrize(
    "name",
    ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"],
)
def test_schedulers_of_another_kind_are_refused_by_name(name):
    with pytest.raises(ModelError, match=f"{name} is not known .* DDPMScheduler"):
        NoiseSchedule.from_scheduler(getattr(diffusers, name)())


@pytest.mark.parametrize("kind", [diffusers.DDIMScheduler, diffusers.DDPMScheduler])
@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear"])
def test_zero_terminal_snr_is_seen_where_it_is_and_only_there(kind, beta_schedule):
    plain = NoiseSchedule.from_scheduler(kind(beta_schedule=beta_schedule))
    rescaled = kind(beta_schedule=beta_schedule, rescale_betas_zero_snr=True)
    schedule = NoiseSchedule.from_scheduler(rescaled)
    assert not plain.has_zero_terminal_snr
    assert schedule.has_zero_terminal_snr
    assert schedule.noise_to_signal[-1] == float("inf")
    assert schedule.sigmas[-1] == 1


class NoReads(TorchDispatchMode):
    """Refuses what a GPU would have to be waited for: reading a number of a tensor."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "a tensor was read"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("zero_snr", [False, True])
def test_what_every_pass_asks_for_is_read_from_the_table_once(zero_snr):
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=zero_snr)
    schedule = NoiseSchedule.from_scheduler(scheduler)
    assert schedule.has_zero_terminal_snr == zero_snr
    with NoReads():
        with pytest.raises(AssertionError, match="a tensor was read"):
            bool(schedule.alphas[-1] == 0)
        assert schedule.has_zero_terminal_snr == zero_snr
        schedule.levels(torch.tensor([1, 2]), torch.zeros(2, 1, 4, 4))
