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
from efface.metrics.intervals import proportion
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


def test_one_forgotten_picture_has_wilsons_interval_among_the_unseen():
    unseen = np.arange(40.0)[:, None]
    for loss, above in ((-1.0, 40), (9.5, 30), (50.0, 0)):
        estimate = membership_gap(column(loss), unseen, [0]).auc
        expected = proportion(above, 40)
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
            (expected.value, expected.low, expected.high), abs=1e-6
        )


def test_with_one_forgotten_picture_only_the_unseen_vary():
    rng = np.random.default_rng(0)
    unseen = rng.gamma(4.0, 0.25, 200)
    estimate = membership_gap(column(0.8), column(*unseen), [0]).gap
    # By the delta method: 1 - 0.8 / mean has the standard error 0.8 s / (mean^2 sqrt n).
    reach = 1.96 * 0.8 * unseen.std(ddof=1) / (unseen.mean() ** 2 * math.sqrt(200))
    assert (estimate.high - estimate.low) / 2 == pytest.approx(reach, rel=0.1)


def test_two_sets_that_are_apart_still_have_an_interval():
    estimate = membership_gap(column(0.1, 0.2), np.arange(1.0, 100.0)[:, None], [0]).auc
    assert estimate.value == estimate.high == 1
    assert 0.2 < estimate.low < 0.7  # two pictures do not prove much


@pytest.mark.parametrize("pictures", [2, 3, 5, 20])
def test_the_intervals_hold_the_truth_in_95_of_100_cases(pictures: int):
    """M = 60, 1,000 draws of normal losses: auc = Phi(0.7 / sqrt 2), gap = 0.07 by design."""
    rng = np.random.default_rng(3)
    auc, hits = stats.norm.cdf(0.7 / math.sqrt(2)), np.zeros(2, dtype=int)
    for _ in range(1000):
        forgotten, unseen = 9.3 + rng.normal(size=(pictures, 1)), 10 + rng.normal(size=(60, 1))
        result = membership_gap(forgotten, unseen, [0])
        hits += [e.low <= v <= e.high for e, v in ((result.gap, 0.07), (result.auc, auc))]
    assert 930 <= hits[0] <= 970
    assert 925 <= hits[1] <= 990  # Newcombe's is known to be wide for few


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
