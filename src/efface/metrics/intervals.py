"""Confidence intervals, 95 % unless said otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from efface.errors import DataError

BLOCKS = 20
RESAMPLES = 2000
SPLITS = 50
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


def proportion_by_seed(found: np.ndarray) -> Estimate:
    """Share of successes among images (N, G) of N seeds, G of each that are not independent.

    Wilson's score interval of as many images as the share is worth by the spread of its N means:
    N G at most, and N where they have no spread. For one image a seed it is `proportion`. Student's
    interval of the means is too narrow near 1, and has no width at 1.
    """
    value, variance = float(found.mean()), float(found.mean(1).var()) / len(found)
    worth = len(found) if variance == 0 else min(found.size, value * (1 - value) / variance)
    return _wilson(value, worth)


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


def distance_interval(
    value: float, left_out: np.ndarray, pairs: np.ndarray, confidence: float = 0.95
) -> Estimate:
    """Interval of a distance that is 0 at least, from its values with blocks left out.

    `left_out` (B,) are without each block, `pairs` (B (B - 1) / 2,) without each two, in the order
    of `itertools.combinations`. The jackknife counts twice what two blocks do together (Efron &
    Stein, 1981); what pairs say of that is itself too much where three do something together. A
    quarter of it taken off, and an interval of the root, whose chance is less skewed near 0, hold
    the truth as often as they should in simulations.
    """
    blocks = len(left_out)
    variance = (blocks - 1) / blocks * float(((left_out - left_out.mean()) ** 2).sum())
    first, second = np.triu_indices(blocks, 1)
    together = value - left_out[first] - left_out[second] + pairs
    excess = float(((together - together.mean()) ** 2).sum())
    variance = max(variance - excess / 4, variance / 2)
    return _of_root(value, variance**0.5, max(blocks - 1, 1), confidence)


def distance_from_parts(
    value: float,
    halves: np.ndarray,
    quarters: np.ndarray,
    freedom: int,
    confidence: float = 0.95,
) -> Estimate:
    """Interval of a distance that is 0 at least, from its values at halves and quarters of N rows.

    `halves` (splits, 2) and `quarters` (splits, 4) are values of parts that share no row, so that
    their spread is the variance at N / 2 and at N / 4. From both follow a and b of the variance
    a / N + b / N^2, the second from what two rows do together, neither of them below 0. That of the
    jackknife is a / N + 2 b / N^2 (Efron & Stein, 1981), too much where rows are few or the
    distance near 0. `freedom` are the degrees that so many splits leave (after Satterthwaite).
    """
    at_half, at_quarter = (float(parts.var(1, ddof=1).mean()) for parts in (halves, quarters))
    variance = min(max(0.75 * at_half - at_quarter / 8, at_half / 4), at_half / 2)
    return _of_root(value, variance**0.5, freedom, confidence)


def split_in_halves(count: int, splits: int = SPLITS) -> np.ndarray:
    """Which rows are in the first half, (splits, count) bool; the second half is the rest.

    Two rows that follow each other are in different halves, by chance either one in either: where
    rows are sorted by label, both halves have as many of each. With an odd count the last row is in
    one of them.
    """
    first = np.random.default_rng(0).random((splits, (count + 1) // 2)) < 0.5
    return np.stack([first, ~first], axis=2).reshape(splits, -1)[:, :count]


def split_in_quarters(count: int, splits: int) -> np.ndarray:
    """Which quarter, 0 to 3, each row is in: (splits, count), for rows sorted by label.

    As in `split_in_halves`: of each four rows that follow each other every quarter gets one.
    """
    order = np.random.default_rng(0).random((splits, -(-count // 4), 4)).argsort(2)
    return order.reshape(splits, -1)[:, :count]


def share_from_halves(
    value: float, halves: np.ndarray, images: int, *, narrowing: float = 0.0
) -> Estimate:
    """Interval of a share of `images` fixed ones that samples reach, such as recall and coverage.

    `halves` (splits, 2) are the shares that each half of the samples reaches. The two differ by
    chance alone, so their spread is the variance at half the samples, and v (1 - v) over it the
    number of independent images that the share is worth. Wilson's interval takes it to be worth as
    many at all samples (`narrowing` 0), the variance to be half of that at half (1), or what lies
    between. The jackknife does not know that a share nears its end: there it is 1.3 to 2 times too
    wide.
    """
    variance = float(((halves[:, 0] - halves[:, 1]) ** 2).mean()) / 2
    half, whole = (max(v * (1 - v), 0.5 / images) for v in (float(halves.mean()), value))
    variance *= (whole / half) ** (1 - narrowing) * 0.5**narrowing
    worth = images if variance == 0 else min(images, whole / variance)
    return _wilson(value, worth)


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


def _wilson(value: float, worth: float) -> Estimate:
    """Wilson's score interval of a share that is worth so many images, a whole number or not."""
    z = float(stats.norm.ppf(0.975))
    middle = (value + z**2 / (2 * worth)) / (1 + z**2 / worth)
    reach = z / (1 + z**2 / worth) * (value * (1 - value) / worth + (z / worth) ** 2 / 4) ** 0.5
    return Estimate(value, max(0.0, middle - reach), min(1.0, middle + reach))


def _of_root(value: float, error: float, freedom: int, confidence: float) -> Estimate:
    """Student's interval of the root, squared again: its chance is less skewed near 0."""
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
    root = max(value, 0.0) ** 0.5
    if root == 0:
        return Estimate(value, min(value, 0.0), max(value, 0.0) + reach)
    reach /= 2 * root
    return Estimate(value, max(0.0, root - reach) ** 2, (root + reach) ** 2)
