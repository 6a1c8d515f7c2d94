"""Intervals against closed forms, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from efface.metrics.intervals import BLOCKS, jackknife, mean, proportion

Z = 1.959963984540054  # the 97.5 % point of the normal distribution


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (1, 2), (37, 500), (899, 900)])
def test_proportion_is_wilsons_interval(successes, total):
    share = successes / total
    centre = (share + Z**2 / (2 * total)) / (1 + Z**2 / total)
    reach = Z * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2)) / (1 + Z**2 / total)
    estimate = proportion(successes, total)
    assert estimate.value == share
    assert (estimate.low, estimate.high) == pytest.approx(
        (centre - reach, centre + reach), abs=1e-12
    )
    assert 0 <= estimate.low <= share <= estimate.high <= 1


def test_mean_is_students_interval():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    # By hand: mean 3.5, sd sqrt(7), t(0.975; 3) = 3.182446305.
    reach = 3.182446305284263 * math.sqrt(7.0) / 2
    estimate = mean(values)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (3.5, 3.5 - reach, 3.5 + reach)
    )


def test_one_value_has_no_interval():
    estimate = mean(np.array([0.25]))
    assert (estimate.value, estimate.low, estimate.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_jackknife_of_a_mean_is_students_interval_of_block_means(confidence):
    values = np.random.default_rng(0).normal(size=200)
    block_means = values.reshape(10, BLOCKS).mean(0)
    low, high = stats.t.interval(confidence, BLOCKS - 1, block_means.mean(), stats.sem(block_means))
    estimate = jackknife(lambda rows: values[rows].mean(), 200, confidence=confidence)
    assert estimate.value == pytest.approx(values.mean(), abs=1e-14)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-12)


def test_the_jackknife_of_single_rows_is_the_classical_one():
    """With one row per block, the variance of a mean is s^2 / n (Efron, 1982)."""
    values = np.random.default_rng(1).exponential(size=12)
    estimate = jackknife(lambda rows: values[rows].mean(), 12)  # fewer rows than blocks
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-12)


def test_blocks_hold_every_label_of_rows_sorted_by_label():
    """Else the spread between labels would be taken for chance."""
    labels = np.arange(9).repeat(100)
    kept: list[np.ndarray] = []
    jackknife(lambda rows: kept.append(np.bincount(labels[rows])) or 0.0, 900)
    assert len(kept) == 1 + BLOCKS
    assert all((counts == 95).all() for counts in kept[1:])


@pytest.mark.parametrize(
    ("statistic", "truth"),
    [
        pytest.param(np.mean, 1.0, id="mean"),
        pytest.param(lambda x: x.var(ddof=1), 1.0, id="variance"),
        pytest.param(lambda x: math.log(x.mean()), 0.0, id="log mean"),
    ],
)
def test_the_jackknifes_interval_holds_the_truth_in_95_of_100_cases(statistic, truth):
    """Skewed samples, on purpose: gamma with mean 1 and variance 1/4, scaled where needed."""
    rng = np.random.default_rng(2)
    scale = 2.0 if statistic not in (np.mean,) and truth == 1.0 else 1.0
    hits = 0
    for _ in range(1000):
        values = scale * rng.gamma(4.0, 0.25, 400)
        estimate = jackknife(lambda rows, values=values: float(statistic(values[rows])), 400)
        hits += estimate.low <= truth <= estimate.high
    assert 930 <= hits <= 970
