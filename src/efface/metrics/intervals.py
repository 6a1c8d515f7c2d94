"""Confidence intervals, 95 % unless said otherwise.

`benchmarks/interval_coverage.py` says how often each of them holds the truth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import optimize, special

from efface.errors import DataError

SPLITS = 50
SMALLEST_SKEWNESS = 8  # values below which their skewness says nothing
LEAST_MISSES, FEW = 0.02, 250  # of the interval of a mean of few values, and how many are few
STEEPEST = 25.0  # saddlepoint of a bounded mean; the bound is then 1 to 11 digits


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured(Estimate):
    """An estimate with the errors that pair it with that of another model.

    `errors` (R,) move with the statistic: what each sample adds to it, or by how much two halves of
    the samples differ. Of a share they are the samples themselves, (N,) bool.
    """

    errors: np.ndarray = field(compare=False, repr=False)
    confidence: float = 0.95


def proportion(successes: int, total: int, confidence: float = 0.95) -> Estimate:
    """Share of successes with the interval of Clopper & Pearson (1934): exact, conservative."""
    return _share(successes / total, total, confidence)


def bounded_mean(
    values: np.ndarray, low: float = 0.0, high: float = 1.0, confidence: float = 0.95
) -> Measured:
    """Mean of independent values (N,) between known ends; its interval is conservative.

    Quantiles of the mean under uniformly random weights of the values and of one more value, which
    lies at the lower end for the lower bound and at the upper end for the upper one (Gaffke, 2005;
    Learned-Miller & Thomas, 2019). For zeros and ones that is `proportion`, exactly. That it holds
    for every distribution between the ends is proven for two values, else conjectured: no case is
    known in which it does not. Student's interval of probabilities near 0 fails.
    """
    if len(values) == 0 or not (values.min() >= low and values.max() <= high):
        raise DataError(
            f"values are missing or outside of [{low:g}, {high:g}], between which their mean lies."
        )
    scale = high - low
    scaled = ((values.astype(np.float64) - low) / scale).clip(0, 1)
    value = float(scaled.mean())
    if np.isin(scaled, (0.0, 1.0)).all():
        found = _share(value, len(values), confidence)
    else:
        tail = (1 - confidence) / 2
        least = max(0.0, 1 - _upper_bound(1 - scaled, tail))
        found = Estimate(value, least, _upper_bound(scaled, tail))
    value, lower, upper = (low + scale * end for end in (found.value, found.low, found.high))
    errors = values if values.dtype == bool else values - values.mean()
    return Measured(value, lower, upper, errors, confidence)


def _upper_bound(values: np.ndarray, tail: float) -> float:
    """What the mean of values in [0, 1] and of 1, with uniform weights, exceeds by that chance."""
    points = np.append(values, 1.0)
    if _tilt(points, STEEPEST)[1] >= tail:
        return 1.0
    steepness = optimize.brentq(lambda s: _tilt(points, s)[1] - tail, 0.0, STEEPEST, xtol=1e-7)
    return _tilt(points, float(steepness))[0]  # pyright: ignore


def _tilt(points: np.ndarray, steepness: float) -> tuple[float, float]:
    """A mean b of points in [0, 1], and the chance that they have a higher one, weighted uniformly.

    That of a positive sum of (point - b) E with E exponential, by the saddlepoint approximation of
    Lugannani & Rice (1980): within 4 % of it at 2.5 %, and above rather than below. The saddlepoint
    is given instead of b, from 0 at the points' mean to infinity at 1: with 1 - tilt the inverse of
    the exponential of `steepness`, b has the weights 1 / (1 - tilt point).
    """
    tilt = -math.expm1(-steepness)
    weights = 1 / (1 - tilt * points)
    bound = float(weights @ points) / float(weights.sum())
    slope = tilt / (1 - tilt * bound)
    apart = points - bound
    r = max(2 * float(np.log1p(-slope * apart).sum()), 0.0) ** 0.5
    if r < 0.01:
        return bound, 0.5
    u = slope * float(((apart / (1 - slope * apart)) ** 2).sum()) ** 0.5
    density = math.exp(-r * r / 2) / math.sqrt(2 * math.pi)
    return bound, float(special.ndtr(-r)) + density * (1 / u - 1 / r)


def proportion_by_seed(found: np.ndarray) -> Estimate:
    """Share of successes among images (N, G) of N seeds, G of each that are not independent.

    `bounded_mean` of the seeds' shares, which are independent: conservative.
    """
    return bounded_mean(found.mean(1))


def mean(values: np.ndarray) -> Measured:
    """Mean of independent values (N,) without known ends; a single one has no interval.

    Student's interval, and from `SMALLEST_SKEWNESS` values on whatever of Hall's (1992), which
    takes their skewness into account, reaches beyond it. Of so many it is conservative below `FEW`,
    up to an interval of 98 % below 100: what is rare is missing from many such samples, and neither
    their spread nor their skewness tells. No interval holds for every distribution without ends
    (Bahadur & Savage, 1956). Fewer values are taken to be nearly normal.
    """
    centre, count = float(values.mean()), len(values)
    if count < 2:
        return Measured(centre, centre, centre, np.zeros(1))
    misses = 0.05
    if SMALLEST_SKEWNESS <= count < FEW:
        misses = max(LEAST_MISSES, misses * count / FEW)
    return linear(centre, values, misses=misses)


def within_groups(values: np.ndarray, groups: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """Deviations (N,) from the means of groups (N,), and their degrees of freedom.

    Scaled so that their mean square is the unbiased variance. The only one of its group deviates
    from the mean of all.
    """
    values = values.astype(np.float64)
    kinds = np.zeros(len(values), dtype=np.intp)
    if groups is not None:
        kinds = np.unique(groups, return_inverse=True)[1]
    counts = np.bincount(kinds)
    single = counts[kinds] == 1
    centres = (np.bincount(kinds, values) / counts)[kinds]
    factors = np.sqrt(counts / np.maximum(counts - 1, 1))[kinds]
    rows = np.where(single, values - values.mean(), (values - centres) * factors)
    means = int((counts > 1).sum()) + bool(single.any())
    return rows, max(len(values) - means, 1)


def _reach(rows: np.ndarray, freedom: int, misses: float) -> tuple[float, float]:
    """How far the interval of a mean reaches below and above it, from `within_groups`."""
    count, spread = len(rows), float(np.sqrt((rows**2).mean()))
    t = float(special.stdtrit(freedom, 1 - misses / 2))
    below = above = t
    if count >= SMALLEST_SKEWNESS and spread > 0:
        skewness = float(((rows / spread) ** 3).mean()) * (count * (count - 1)) ** 0.5 / (count - 2)
        below, above = max(t, _hall(t, skewness, count)), max(t, -_hall(-t, skewness, count))
    error = spread / count**0.5
    return below * error, above * error


def _hall(point: float, skewness: float, count: int) -> float:
    """Where Hall's transformation (1992) of a skewed Student's t takes the value `point`."""
    a = skewness / (3 * count**0.5)
    if abs(a) < 1e-9:
        return point
    return (float(np.cbrt(1 + 3 * a * (point - a / 2))) - 1) / a


def linear(
    value: float,
    influence: np.ndarray,
    groups: np.ndarray | None = None,
    scale: Literal["plain", "root", "log"] = "plain",
    floor: float = 0.0,
    misses: float = 0.05,
) -> Measured:
    """A statistic of N samples that to first order is the mean of what each adds to it, (N,).

    `influence` is the statistic's influence function at the samples (Hampel, 1974), its mean any;
    the interval is Student's and Hall's, for the statistic at this sample size. Samples of one of
    `groups` (N,) share a distribution, as those of a label do: chance is within them. What is not
    below its `floor`, as a squared distance, has the interval of its `root`, an exponential that of
    its `log`: their chance is less skewed. Conservative where samples are so few that what pairs of
    them do together matters, which influences count twice (Efron & Stein, 1981).
    """
    rows, freedom = within_groups(influence, groups)
    below, above = _reach(rows, freedom, misses)
    if scale == "log":
        low, high = (value * float(np.exp(by / value)) for by in (-below, above))
    elif scale == "root":
        low, high = (floor + end for end in _ends_of_root(value - floor, below, above))
    else:
        low, high = value - below, value + above
    return Measured(value, low, high, rows)


def _ends_of_root(value: float, below: float, above: float) -> tuple[float, float]:
    root = max(value, 0.0) ** 0.5
    if root == 0:
        return min(value, 0.0), max(value, 0.0) + above
    return max(0.0, root - below / (2 * root)) ** 2, (root + above / (2 * root)) ** 2


def split_in_halves(count: int, splits: int = SPLITS) -> np.ndarray:
    """Which rows are in the first half, (splits, count) bool; the second half is the rest.

    Two rows that follow each other are in different halves, by chance either one in either: where
    rows are sorted by label, both halves have as many of each. With an odd count the last row is in
    one of them.
    """
    first = np.random.default_rng(0).random((splits, (count + 1) // 2)) < 0.5
    return np.stack([first, ~first], axis=2).reshape(splits, -1)[:, :count]


def share_by_halves(
    reached: Callable[[np.ndarray], np.ndarray], samples: int, images: int, narrowing: float = 0.0
) -> Measured:
    """`share_from_halves` of what sets of samples reach: (R, N) bool -> (R,)."""
    firsts = split_in_halves(samples)
    shares = reached(np.concatenate([np.ones((1, samples), dtype=bool), firsts, ~firsts]))
    halves = shares[1:].reshape(2, -1).T
    return share_from_halves(float(shares[0]), halves, images, narrowing=narrowing)


def share_from_halves(
    value: float, halves: np.ndarray, images: int, *, narrowing: float = 0.0
) -> Measured:
    """A share of `images` fixed ones that samples reach, such as recall and coverage.

    `halves` (splits, 2) are the shares that each half of the samples reaches. The two differ by
    chance alone, so their spread is the variance at half the samples, and v (1 - v) over it the
    number of independent images that the share is worth. The interval, that of `proportion` for
    as many, takes it to be worth as many at all samples (`narrowing` 0), the variance to be half of
    that at half (1), or what lies between. Conservative near 0 and 1.
    """
    variance = float(((halves[:, 0] - halves[:, 1]) ** 2).mean()) / 2
    half, whole = (max(v * (1 - v), 0.5 / images) for v in (float(halves.mean()), value))
    variance *= (whole / half) ** (1 - narrowing) * 0.5**narrowing
    worth = images if variance == 0 else min(images, whole / variance)
    found = _share(value, worth)
    return Measured(value, found.low, found.high, halves[:, 0] - halves[:, 1])


def _share(value: float, worth: float, confidence: float = 0.95) -> Estimate:
    """The interval of Clopper & Pearson of a share of so many images, a whole number or not."""
    tail, hits = (1 - confidence) / 2, value * worth
    low = 0.0 if hits <= 0 else float(special.betaincinv(hits, worth - hits + 1, tail))
    high = 1.0 if hits >= worth else float(special.betaincinv(hits + 1, worth - hits, 1 - tail))
    return Estimate(value, min(low, value), max(high, value))


def paired_difference(a: np.ndarray, b: np.ndarray) -> Estimate:
    """Mean of a - b over N pairs, as two methods from the same training seeds: (N,), (N,).

    With the interval of `mean`, and what that says of its limits.
    """
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise DataError(
            f"values of shapes {a.shape} and {b.shape} are no pairs: give two lists of one length."
        )
    return mean(a.astype(np.float64) - b.astype(np.float64))


def difference(result: Estimate, original: Estimate) -> Estimate | None:
    """How the result differs from the original model, pair by pair; None where they are no pair.

    A pair are samples of one seed and label, or the same halves of them. Of shares it is the
    `bounded_mean` of differences, each -1, 0 or 1. Of other statistics both intervals and the
    correlation of the errors make it (Zou & Donner, 2008; Zou, 2007). Conservative where one of
    the two intervals is.
    """
    if not (isinstance(result, Measured) and isinstance(original, Measured)):
        return None
    a, b = result, original
    if a.errors.shape != b.errors.shape:
        return None
    if a.errors.dtype == bool:
        changes = a.errors.astype(np.float64) - b.errors.astype(np.float64)
        return bounded_mean(changes, -1.0, 1.0, a.confidence)
    together, value = _correlation(a.errors, b.errors), a.value - b.value
    below = _apart(a.value - a.low, b.high - b.value, together)
    above = _apart(a.high - a.value, b.value - b.low, together)
    return Estimate(value, value - below, value + above)


def ratio(a: Estimate, b: Estimate) -> Estimate:
    """Of two independent values above 0 with intervals, on the scale of logarithms."""
    with np.errstate(divide="ignore", over="ignore"):
        (log_a, low_a, high_a), (log_b, low_b, high_b) = (
            np.log(np.maximum([e.value, e.low, e.high], 0.0)) for e in (a, b)
        )
        below, above = _apart(log_a - low_a, high_b - log_b), _apart(high_a - log_a, log_b - low_b)
        value = a.value / b.value
        return Estimate(value, value * float(np.exp(-below)), value * float(np.exp(above)))


def _apart(a: float, b: float, together: float = 0.0) -> float:
    """The reach of a difference, from those of its parts and the correlation of their errors."""
    if not np.isfinite(a + b):
        return float("inf")
    return float(max(a * a + b * b - 2 * together * a * b, 0.0) ** 0.5)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of errors whose mean is 0; 0 where either has none."""
    norm = float(((a**2).sum() * (b**2).sum()) ** 0.5)
    return float((a * b).sum()) / norm if norm > 0 else 0.0
