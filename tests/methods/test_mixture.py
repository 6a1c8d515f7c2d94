"""Weights of the defensive mixture: identities, bounds, and the law of the log odds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from efface.methods.mixture import log_kernels, log_odds, mixture_weights, posterior_mean

SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)


def levels(like: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
    shape = (len(like),) + (1,) * (like.ndim - 1)
    return torch.full(shape, alpha), torch.full(shape, sigma)


@pytest.mark.parametrize("share", SHARES)
def test_weights_are_finite_bounded_and_sum_to_one(share: float) -> None:
    # |odds| up to D^2 = 1e8, as between images that are far apart in units of the noise.
    odds = torch.cat([-torch.logspace(-6, 8, 200), torch.zeros(1), torch.logspace(-6, 8, 200)])
    w_x, w_a = mixture_weights(odds, share)
    assert torch.isfinite(w_x).all()
    assert torch.isfinite(w_a).all()
    assert (w_x >= 0).all()
    assert (w_a >= 0).all()
    if 0 < share < 1:
        assert_close((1 - share) * w_x + share * w_a, torch.ones_like(odds))
        assert (w_x <= 1 / (1 - share) * (1 + 1e-6)).all()
        assert (w_a <= 1 / share * (1 + 1e-6)).all()
    assert torch.equal(w_x if share == 0 else w_a, torch.ones_like(odds)) or 0 < share < 1


def test_weights_are_density_ratios() -> None:
    torch.manual_seed(0)
    x, a = torch.randn(6, 3).double(), torch.randn(6, 3).double()
    alpha, sigma = torch.full((6, 1), 0.8).double(), torch.full((6, 1), 0.6).double()
    m = alpha * x + sigma * torch.randn(6, 3).double()
    q_x, q_a = (
        (-(m - alpha * y).square().sum(1) / (2 * sigma[:, 0].square())).exp() for y in (x, a)
    )
    w_x, w_a = mixture_weights(log_odds(m, x, a, (alpha, sigma)), 0.3)
    mixture = 0.7 * q_x + 0.3 * q_a
    assert_close(w_x, q_x / mixture)
    assert_close(w_a, q_a / mixture)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (1, 8, 8), (2, 3, 4, 5), (200_000,)])
def test_any_rank_and_dimension(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, a = torch.rand(2, *shape) * 2 - 1, torch.rand(2, *shape) * 2 - 1
    for alpha, sigma in ((0.99995, 0.01), (0.7, 0.7141), (0.006, 0.99998)):
        m = alpha * x + sigma * torch.randn(2, *shape)
        for share in SHARES:
            odds = log_odds(m, x, a, levels(x, alpha, sigma))
            assert odds.shape == (2,)
            for weights in mixture_weights(odds, share):
                assert torch.isfinite(weights).all()


@pytest.mark.parametrize("arm", ["x", "a"])
@pytest.mark.parametrize("distance", [0.3, 2.0, 8.0])
def test_log_odds_have_mean_half_d_squared_and_variance_d_squared(
    arm: str, distance: float
) -> None:
    torch.manual_seed(0)
    count, alpha, sigma = 40_000, 0.6, 0.8
    x, a = torch.zeros(count, 4), torch.zeros(count, 4)
    a[:, 0] = distance * sigma / alpha  # so that D = alpha |x - a| / sigma
    m = alpha * (x if arm == "x" else a) + sigma * torch.randn(count, 4)
    odds = log_odds(m, x, a, levels(x, alpha, sigma))
    expected = distance**2 / 2 * (-1 if arm == "x" else 1)
    assert float(odds.mean()) == pytest.approx(expected, abs=5 * distance / math.sqrt(count))
    assert float(odds.var()) == pytest.approx(distance**2, rel=5 * math.sqrt(2 / count))


def test_kernels_and_posterior_mean_are_those_of_the_images() -> None:
    torch.manual_seed(0)
    images, m = torch.randn(5, 2, 3), torch.randn(4, 2, 3)
    alpha, sigma = torch.tensor([0.9, 0.5, 0.3, 0.7]), torch.tensor([0.4, 0.8, 0.9, 0.7])
    shaped = alpha.view(-1, 1, 1), sigma.view(-1, 1, 1)
    exact = torch.stack(
        [
            torch.stack(
                [-(m[i] - alpha[i] * y).square().sum() / (2 * sigma[i] ** 2) for y in images]
            )
            for i in range(4)
        ]
    )
    got = log_kernels(m, images, shaped)
    assert_close(got - got[:, :1], exact - exact[:, :1], rtol=1e-4, atol=1e-4)
    mean = torch.einsum("bn,nij->bij", exact.softmax(1), images)
    assert_close(posterior_mean(m, images, shaped), mean, rtol=1e-4, atol=1e-5)
