"""The loss gap on networks whose loss is known, and how often its intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from scipy import stats
from torch import Tensor, nn

from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import UnconditionalDenoiser
from efface.diffusion.schedule import NoiseSchedule
from efface.errors import DataError, RequestError
from efface.metrics.membership_gap import denoising_losses, loss_timesteps, membership_gap

SHAPE = (1, 4, 4)
TIMESTEPS = [100, 500, 900]


class Memory(nn.Module):
    """Predicts x0: the stored picture that x_t is nearest to, or 0 if none is stored."""

    def __init__(self, schedule: NoiseSchedule, pictures: Tensor) -> None:
        super().__init__()
        self.schedule, self.pictures = schedule, pictures
        self.was_training: list[bool] = []

    def forward(self, x: Tensor, t: Tensor, return_dict: bool) -> tuple[Tensor]:
        del return_dict
        self.was_training.append(self.training)
        if len(self.pictures) == 0:
            return (torch.zeros_like(x),)
        clean = x.flatten(1) / self.schedule.alphas[t].view(-1, 1)
        nearest = torch.cdist(clean, self.pictures.flatten(1)).argmin(1)
        return (self.pictures[nearest],)


def memory_of(pictures: Tensor) -> UnconditionalDenoiser:
    schedule = NoiseSchedule.from_scheduler(DDPMScheduler())
    return UnconditionalDenoiser(
        network=Memory(schedule, pictures),
        schedule=schedule,
        kind="sample",
        sample_shape=SHAPE,
        scheduler=None,
    )


def pictures(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *SHAPE, generator=generator).mul(2).sub(1)


IGNORANT = memory_of(pictures(0, 0))


def test_losses_of_a_model_that_always_says_grey_are_known():
    """x0 = 0 gives eps_hat = x_t / sigma, so the error is (alpha / sigma)^2 mean x0^2."""
    images = pictures(5, 0)
    ratio = (IGNORANT.schedule.alphas / IGNORANT.schedule.sigmas)[TIMESTEPS].square()
    expected = images.square().flatten(1).mean(1)[:, None] * ratio
    losses = denoising_losses(IGNORANT, images, TIMESTEPS, draws=3, seed=0)
    np.testing.assert_allclose(losses, expected.numpy(), rtol=1e-4)


def test_losses_equal_a_loop_with_the_promised_noise(tiny_unet):
    denoiser, draws, seed = tiny_unet(conditional=False), 2, 7
    images = torch.rand(3, *denoiser.sample_shape) * 2 - 1
    losses = denoising_losses(denoiser, images, TIMESTEPS, draws, seed)
    expected = np.zeros((3, 3))
    for i in range(3):
        for column, t in enumerate(TIMESTEPS):
            for draw in range(draws):
                generator = torch.Generator().manual_seed(derive_seed(seed, t, draw))
                eps = torch.randn((1, *denoiser.sample_shape), generator=generator)
                alpha, sigma = denoiser.schedule.alphas[t], denoiser.schedule.sigmas[t]
                with torch.no_grad():
                    x_t = alpha * images[i : i + 1] + sigma * eps
                    predicted = denoiser(x_t, torch.tensor([t])).eps
                expected[i, column] += float((predicted - eps).square().mean()) / draws
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert losses.shape == (3, 3) and losses.std(0).min() > 1e-6


def test_the_same_picture_has_the_same_loss_in_any_set_and_batch(tiny_unet):
    denoiser = tiny_unet(conditional=False)
    images = torch.rand(7, *denoiser.sample_shape) * 2 - 1
    whole = denoising_losses(denoiser, images, TIMESTEPS, draws=4, seed=1)
    for batch_size in (1, 3, 20):
        other = denoising_losses(denoiser, images[[5, 0]], TIMESTEPS, 4, 1, batch_size)
        np.testing.assert_allclose(other, whole[[5, 0]], rtol=1e-5)
    assert np.abs(denoising_losses(denoiser, images, TIMESTEPS, 4, 2) - whole).min() > 0


def test_losses_are_measured_in_evaluation_mode():
    denoiser = memory_of(pictures(1, 0))
    denoiser.network.train()
    denoising_losses(denoiser, pictures(2, 1), [10], draws=1, seed=0)
    assert denoiser.network.was_training == [False]


def test_what_is_memorised_is_told_from_what_is_not():
    known, unseen = pictures(6, 0), pictures(40, 1)
    for denoiser, gap, auc in ((memory_of(known), 1.0, 1.0), (IGNORANT, 0.0, 0.5)):
        seen, new = (denoising_losses(denoiser, s, TIMESTEPS, 4, 0) for s in (known, unseen))
        result = membership_gap(seen, new, TIMESTEPS)
        assert result.gap.value == pytest.approx(gap, abs=0.2 if gap == 0 else 0.01)
        assert result.auc.value == pytest.approx(auc, abs=0.3 if gap == 0 else 0)
        assert result.gap.low <= gap <= result.gap.high + 0.01
        assert result.auc.low <= auc <= result.auc.high
        assert [t for t, _, _ in result.per_timestep] == TIMESTEPS
        by_column = [means for _, *means in result.per_timestep]
        np.testing.assert_allclose(by_column, np.stack([seen.mean(0), new.mean(0)], 1))


def column(*losses: float) -> np.ndarray:
    return np.array(losses)[:, None]


def test_the_gap_is_relative_to_the_unseen_loss_and_has_a_sign():
    unseen = column(1.0, 3.0)
    assert membership_gap(column(1.5), unseen, [0]).gap.value == pytest.approx(0.25)
    assert membership_gap(column(3.0), unseen, [0]).gap.value == pytest.approx(-0.5)
    assert membership_gap(column(2.0), unseen, [0]).gap.value == 0


def test_ties_count_half_and_lower_loss_counts_as_known():
    unseen = column(1.0, 2.0, 2.0, 3.0)
    for loss, auc in ((0.5, 1.0), (1.0, 0.875), (2.0, 0.5), (2.5, 0.25), (4.0, 0.0)):
        assert membership_gap(column(loss), unseen, [0]).auc.value == auc
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (2, 30)).astype(float)
    expected = np.mean([(x < y) + 0.5 * (x == y) for x in a for y in b])
    assert membership_gap(column(*a), column(*b), [0]).auc.value == pytest.approx(expected)


def test_a_loss_is_the_mean_over_timesteps():
    forgotten, unseen = np.array([[0.0, 4.0]]), np.array([[1.0, 3.0], [3.0, 1.0]])
    result = membership_gap(forgotten, unseen, [10, 20])
    assert (result.gap.value, result.auc.value) == (0, 0.5)
    assert result.per_timestep == [(10, 0.0, 2.0), (20, 4.0, 2.0)]


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_one_forgotten_image_has_a_prediction_interval(factor: float):
    """Of log-normal losses: as wide as one more of them may lie from the others, exactly.

    1,000 draws, three standard errors around 95 %; the AUC also leaves room for rare unseen ones.
    """
    rng, hits = np.random.default_rng(0), np.zeros(2, dtype=int)
    auc = stats.norm.cdf(-math.log(factor) / (0.5 * math.sqrt(2)))
    for _ in range(1000):
        loss, unseen = factor * rng.lognormal(0, 0.5, (1, 1)), rng.lognormal(0, 0.5, (40, 1))
        result = membership_gap(loss, unseen, [0])
        hits += [e.low <= v <= e.high for e, v in ((result.gap, 1 - factor), (result.auc, auc))]
    assert 930 <= hits[0] <= 970
    assert 930 <= hits[1] <= 985


def test_one_unusual_loss_is_told_from_the_unseen():
    unseen = np.random.default_rng(1).lognormal(0, 0.3, (200, 1))
    usual, low = (membership_gap(column(loss), unseen, [0]) for loss in (0.8, 0.2))
    assert usual.gap.low < 0 < usual.gap.high and usual.auc.low < 0.5 < usual.auc.high
    assert low.gap.low > 0 and low.auc.low > 0.5
    assert low.gap.value == pytest.approx(1 - 0.2 / unseen.mean())
    assert low.auc.value == low.auc.high == 1


def test_two_sets_that_are_apart_still_have_an_interval():
    estimate = membership_gap(column(0.1, 0.2), np.arange(1.0, 100.0)[:, None], [0]).auc
    assert estimate.value == estimate.high == 1
    assert 0.2 < estimate.low < 0.7  # two pictures do not prove much


@pytest.mark.parametrize("pictures", [2, 3, 5, 20])
@pytest.mark.parametrize("skewed", [False, True])
def test_the_intervals_hold_the_truth(pictures: int, skewed: bool):
    """M = 60, 400 draws of normal or log-normal losses; gap and auc by design.

    The bound is three standard errors below 92.5 %; both are conservative.
    """
    rng, hits = np.random.default_rng(3), np.zeros(2, dtype=int)
    gap, auc = 0.07, stats.norm.cdf(0.7 / math.sqrt(2))
    if skewed:
        auc = stats.norm.cdf(-math.log(0.93) / math.sqrt(2))
    for _ in range(400):
        forgotten, unseen = rng.normal(size=(pictures, 1)), rng.normal(size=(60, 1))
        known = (0.93 * np.exp(forgotten), np.exp(unseen)) if skewed else (
            9.3 + forgotten, 10 + unseen
        )  # fmt: skip
        result = membership_gap(*known, [0])
        hits += [e.low <= v <= e.high for e, v in ((result.gap, gap), (result.auc, auc))]
    assert hits.min() >= 354


def test_timesteps_are_the_mid_points_of_equal_parts():
    assert loss_timesteps(1000, 4) == [125, 375, 625, 875]
    assert loss_timesteps(1000) == list(range(50, 1000, 100))
    assert loss_timesteps(3, 3) == [0, 1, 2]
    assert loss_timesteps(7, 1) == [3]
    for count in (0, 8):
        with pytest.raises(RequestError, match=f"{count} timesteps were asked for"):
            loss_timesteps(7, count)


@pytest.mark.parametrize(
    ("forgotten", "unseen", "timesteps"),
    [
        pytest.param((1, 2), (5, 3), [1, 2], id="other timesteps"),
        pytest.param((1, 2), (5, 2), [1], id="too few names"),
        pytest.param((1, 2), (1, 2), [1, 2], id="one unseen"),
        pytest.param((0, 2), (5, 2), [1, 2], id="none forgotten"),
    ],
)
def test_what_cannot_be_compared_is_named(forgotten, unseen, timesteps):
    with pytest.raises(DataError, match="at least one forgotten and two unseen"):
        membership_gap(np.ones(forgotten), np.ones(unseen), timesteps)
