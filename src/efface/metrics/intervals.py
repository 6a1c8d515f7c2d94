"""Confidence intervals, 95 % unless said otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

BLOCKS = 20


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float


def proportion(successes: int, total: int, confidence: float = 0.95) -> Estimate:
    """Share of successes with Wilson's score interval."""
    interval = stats.binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return Estimate(successes / total, float(interval.low), float(interval.high))


def mean(values: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean of independent values (N,) with Student's interval."""
    centre = float(values.mean())
    if len(values) < 2:
        return Estimate(centre, centre, centre)
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    return _student(centre, error, len(values) - 1, confidence)


def jackknife(
    statistic: Callable[[np.ndarray], float],
    count: int,
    blocks: int = BLOCKS,
    confidence: float = 0.95,
) -> Estimate:
    """A statistic of `count` samples with the grouped jackknife's interval (Shao & Tu, 1995).

    `statistic` gets the row numbers to use. Blocks are interleaved, so that rows sorted by label
    (but not rows whose labels take turns) spread over all of them. The interval is for the
    statistic at this sample size.
    """
    rows = np.arange(count)
    value = statistic(rows)
    blocks = min(blocks, count)
    left_out = np.array([statistic(rows[rows % blocks != block]) for block in range(blocks)])
    variance = (blocks - 1) / blocks * ((left_out - left_out.mean()) ** 2).sum()
    return _student(value, float(variance**0.5), blocks - 1, confidence)


def _student(centre: float, error: float, freedom: int, confidence: float) -> Estimate:
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
    return Estimate(centre, centre - reach, centre + reach)
