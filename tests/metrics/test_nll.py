"""Likelihoods against closed forms of Gaussian data, whose score is known exactly."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from scipy import stats
from torch import Tensor, nn

from efface.diffusion.denoiser import UnconditionalDenoiser, VAECodec
from efface.diffusion.schedule import NoiseSchedule
from efface.errors import ModelError
from efface.metrics.nll import LikelihoodSettings, nll

SHAPE = (1, 2, 2)
MU = np.array([0.5, -0.3, 0.1, 0.0])
INDEPENDENT = np.diag([0.3, 0.2, 0.1, 0.4])  # one Rademacher vector gives the exact trace
MIXING = np.array([[0.5, 0.1, 0.0, 0.2], [0, 0.4, -0.2, 0], [0.1, 0, 0.3, 0], [0, 0.2, 0, 0.6]])
CORRELATED = MIXING @ MIXING.T  # it does not
SMALLEST, LARGEST = 0.01, math.pi / 2 - 0.001  # angles of the first and last timestep


class GaussianScore(nn.Module):
    """Exact eps of x_t for data N(mu, C): sigma (alpha^2 C + sigma^2 I)^-1 (x_t - alpha mu)."""

    def __init__(
        self, schedule: NoiseSchedule, covariance: np.ndarray, kind: str, error: float
    ) -> None:
        super().__init__()
        self.schedule, self.kind = schedule, kind
        self.mu = torch.tensor(MU, dtype=torch.float64)
        self.covariance = torch.tensor(covariance)
        self.error = error  # added to eps
        self.seen: list[Tensor] = []  # timesteps
        self.first: list[Tensor] = []  # x at timestep 0

    def forward(self, x: Tensor, t: Tensor, return_dict: bool) -> tuple[Tensor]:
        del return_dict
        self.seen.append(t)
        self.first += [x] if t[0] == 0 else []
        alpha, sigma = self.schedule.alphas[t[0]].double(), self.schedule.sigmas[t[0]].double()
        marginal = alpha**2 * self.covariance + sigma**2 * torch.eye(4)
        centred = x.flatten(1).double() - alpha * self.mu
        eps = sigma * torch.linalg.solve(marginal, centred.T).T + self.error
        x0 = (x.flatten(1).double() - sigma * eps) / alpha
        output = {"epsilon": eps, "sample": x0, "v_prediction": alpha * eps - sigma * x0}[self.kind]
        return (output.float().view_as(x),)


def linear_schedule() -> NoiseSchedule:
    return NoiseSchedule.from_scheduler(DDPMScheduler())


def fine_schedule() -> NoiseSchedule:
    """So many timesteps that steps between them are even."""
    angles = torch.linspace(SMALLEST, LARGEST, 20_000, dtype=torch.float64)
    return NoiseSchedule(angles.cos().float(), angles.sin().float())


def gaussian_denoiser(
    schedule: NoiseSchedule,
    covariance: np.ndarray = INDEPENDENT,
    kind: str = "epsilon",
    error: float = 0.0,
) -> UnconditionalDenoiser:
    return UnconditionalDenoiser(
        network=GaussianScore(schedule, covariance, kind, error),
        schedule=schedule,
        kind=kind,  # pyright: ignore[reportArgumentType]
        sample_shape=SHAPE,
        scheduler=None,
    )


def draw(count: int, covariance: np.ndarray = INDEPENDENT) -> Tensor:
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(MU, covariance, count)
    return torch.tensor(drawn, dtype=torch.float32).view(count, *SHAPE)


def exact_bits(images: Tensor, covariance: np.ndarray = INDEPENDENT) -> np.ndarray:
    log_density = stats.multivariate_normal.logpdf(images.flatten(1).numpy(), MU, covariance)
    return -log_density / (4 * math.log(2)) + math.log2(255 / 2)


DEFAULT = LikelihoodSettings()


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_the_likelihood_of_gaussian_data_is_the_known_one(kind):
    images = draw(8)
    result = nll(gaussian_denoiser(linear_schedule(), kind=kind), images, DEFAULT)
    expected = exact_bits(images)
    assert np.ptp(expected) > 0.5  # the images differ in likelihood by more than is allowed for
    np.testing.assert_allclose(result, expected, atol=0.02)


@pytest.mark.parametrize("deviation", [0.05, 1.0])
def test_narrow_and_wide_data_are_as_well_resolved(deviation):
    covariance = deviation**2 * np.eye(4)
    images = draw(8, covariance)
    result = nll(gaussian_denoiser(linear_schedule(), covariance), images, DEFAULT)
    # Timestep 0 stands for the data, and it has noise of sigma 0.01.
    noisy = exact_bits(images, covariance + 1e-4 * np.eye(4))
    np.testing.assert_allclose(result, noisy, atol=0.02)


def test_more_steps_bring_the_solver_nearer():
    """Heun's error falls with the square of the step, to the density at timestep 0."""
    images, denoiser = draw(8), gaussian_denoiser(fine_schedule())
    at_zero = math.cos(SMALLEST) ** 2 * INDEPENDENT + math.sin(SMALLEST) ** 2 * np.eye(4)
    truth = exact_bits(images, at_zero)
    errors = []
    for steps in (8, 16, 32, 160):
        before = len(denoiser.network.seen)  # pyright: ignore
        result = nll(denoiser, images, LikelihoodSettings(steps=steps))
        errors.append(np.abs(result - truth).max())
        assert len(denoiser.network.seen) - before == 2 * steps  # pyright: ignore
    assert errors[-1] < 1e-3
    assert 2.5 < errors[0] / errors[1] < 8 and 2.5 < errors[1] / errors[2] < 6


def test_random_vectors_average_to_the_exact_trace():
    images = draw(1, CORRELATED).expand(256, -1, -1, -1)
    denoiser = gaussian_denoiser(linear_schedule(), CORRELATED)
    one = nll(denoiser, images, LikelihoodSettings(), batch_size=256)
    many = nll(denoiser, images, LikelihoodSettings(probes=16), batch_size=256)
    exact = exact_bits(images[:1], CORRELATED)
    assert one.std() > 0.02  # one vector is not the trace
    assert abs(one.mean() - exact) < 3 * one.std() / 16 + 0.01
    assert abs(many.mean() - exact) < 3 * many.std() / 16 + 0.01
    assert 3 < one.std() / many.std() < 5  # the square root of 16 is 4


def test_the_same_seed_gives_the_same_numbers_in_any_batch():
    images, denoiser = draw(5), gaussian_denoiser(linear_schedule())
    settings = LikelihoodSettings(steps=10, dequantise=True)
    whole = nll(denoiser, images, settings, seed=3)
    cut = nll(denoiser, images, settings, seed=3, batch_size=2)
    np.testing.assert_allclose(cut, whole, atol=1e-5)
    assert np.abs(nll(denoiser, images, settings, seed=4) - whole).min() > 1e-4


def test_dequantised_levels_get_the_entropy_of_the_quantised_data():
    """Bits of 8-bit data are those of -log2 P(level), by the normal distribution's integral."""
    variance = 0.01  # 13 levels wide
    covariance = variance * np.eye(4)
    levels = ((draw(200, covariance) + 1) * 127.5).round().clamp(0, 255)
    images = levels / 127.5 - 1
    settings = LikelihoodSettings(steps=60, dequantise=True)
    denoiser = gaussian_denoiser(linear_schedule(), covariance)
    result = nll(denoiser, images, settings, batch_size=200)
    noisy = stats.norm(MU, math.sqrt(variance + 1e-4))
    points = images.flatten(1).double().numpy()
    share = noisy.cdf(points + 1 / 255) - noisy.cdf(points - 1 / 255)
    expected = -np.log2(share).mean(1)
    assert result.mean() == pytest.approx(expected.mean(), abs=0.02)
    added = (denoiser.network.first[0] - images).detach().numpy() * 127.5  # pyright: ignore
    assert -0.501 < added.min() < -0.49 and 0.49 < added.max() < 0.501
    assert abs(added.mean()) < 0.05  # 3.5 standard errors of 800 numbers
    assert added.std() == pytest.approx(12**-0.5, rel=0.1)


def test_a_schedule_that_ends_in_noise_alone_stops_before():
    scheduler = DDPMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    schedule = NoiseSchedule.from_scheduler(scheduler)
    # diffusers keeps a signal of 6e-8 there, to be able to divide by it.
    schedule = NoiseSchedule(schedule.alphas.where(schedule.alphas > 1e-3, 0.0), schedule.sigmas)
    assert schedule.has_zero_terminal_snr
    images = draw(4)
    result = nll(gaussian_denoiser(schedule, kind="v_prediction"), images, DEFAULT)
    np.testing.assert_allclose(result, exact_bits(images), atol=0.02)


def test_a_networks_error_where_hardly_any_signal_is_left_does_not_grow():
    """The cosine schedule's last step goes from alpha 2e-3 to 5e-5."""
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    denoiser = gaussian_denoiser(NoiseSchedule.from_scheduler(scheduler), error=0.03)
    images = draw(4)
    few, many = (nll(denoiser, images, LikelihoodSettings(steps=n)) for n in (50, 400))
    assert 0.05 < np.abs(many - exact_bits(images)).max() < 1  # the error matters, and no more
    np.testing.assert_allclose(few, many, atol=0.02)


def test_a_real_network_is_left_as_it_was(tiny_unet):
    denoiser = tiny_unet(conditional=False)
    generator = torch.Generator().manual_seed(0)
    images = 0.5 * torch.randn(2, *denoiser.sample_shape, generator=generator)
    assert np.isfinite(nll(denoiser, images, LikelihoodSettings(steps=5))).all()
    assert not any(p.grad is not None for p in denoiser.network.parameters())


def test_latent_models_are_refused():
    denoiser = replace(gaussian_denoiser(linear_schedule()), codec=VAECodec(None))
    with pytest.raises(ModelError, match="this model works on latents"):
        nll(denoiser, draw(1), DEFAULT)
