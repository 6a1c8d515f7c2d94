"""Confidence intervals, 95 % unless said otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from efface.errors import DataError

BLOCKS = 20
RESAMPLES = 2000
SMALLEST_BOOTSTRAP = 8  # pairs below which Student's interval is used


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
    return from_left_out(value, left_out, confidence)


def from_left_out(value: float, left_out: np.ndarray, confidence: float = 0.95) -> Estimate:
    """The grouped jackknife's interval, from the values (B,) with each of B blocks left out."""
    blocks = len(left_out)
    variance = (blocks - 1) / blocks * ((left_out - left_out.mean()) ** 2).sum()
    return _student(value, float(variance**0.5), blocks - 1, confidence)


def paired_difference(
    a: np.ndarray, b: np.ndarray, seed: int = 0, confidence: float = 0.95
) -> Estimate:
    """Mean of a - b over N pairs, as two methods from the same training seeds: (N,), (N,).

    The studentised bootstrap (Efron & Tibshirani, 1993, section 12.5) over pairs: its interval
    keeps its level for few and skewed differences, where BCa's is too narrow. With fewer than
    `SMALLEST_BOOTSTRAP` pairs Student's interval, as a handful of values has too few resamples.
    """
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise DataError(
            f"values of shapes {a.shape} and {b.shape} are no pairs: give two lists of one length."
        )
    differences = a.astype(np.float64) - b.astype(np.float64)
    centre, spread = float(differences.mean()), float(differences.std())
    if len(differences) < SMALLEST_BOOTSTRAP or spread == 0:
        return mean(differences, confidence)
    # Standardised, so that values of any size are resampled alike.
    ratios = _resampled_ratios((differences - centre) / spread, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    error = spread / (len(differences) - 1) ** 0.5
    return Estimate(centre, centre - float(high) * error, centre - float(low) * error)


def _resampled_ratios(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean over its standard error in resamples of centred values (N,); at most (RESAMPLES,)."""
    ratios = []
    at_once = max(1, 10**6 // len(values))  # for the memory of many pairs
    for start in range(0, RESAMPLES, at_once):
        size = (min(at_once, RESAMPLES - start), len(values))
        drawn = values[rng.integers(0, len(values), size)]
        errors = drawn.std(1) / (len(values) - 1) ** 0.5
        some = errors > 1e-9  # a resample of equal values has no error to divide by
        ratios.append(drawn.mean(1)[some] / errors[some])
    return np.concatenate(ratios)


def _student(centre: float, error: float, freedom: int, confidence: float) -> Estimate:
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
    return Estimate(centre, centre - reach, centre + reach)
