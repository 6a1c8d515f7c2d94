"""How sure the judge is of single samples, and how varied it finds them together.

Copies of a forgotten image are to be left out before, as SISS does.
"""

import hashlib

import numpy as np
from scipy.special import rel_entr

from efface.errors import DataError
from efface.metrics.base import Metric
from efface.metrics.intervals import Measured, linear
from efface.records import Spec

SPLITS = 10
SMALLEST_PART = 10  # samples below which what pairs of them do together is most of the chance


def score(probabilities: np.ndarray) -> float:
    """Exp of the mean KL(p(y|x) || p(y)) over all samples (N, K) (Salimans et al., 2016)."""
    return float(np.exp(divergences(probabilities).mean()))


def divergences(probabilities: np.ndarray) -> np.ndarray:
    """KL (N,) of each sample's probabilities (N, K) from their mean."""
    p = probabilities.astype(np.float64)
    return rel_entr(p, p.mean(0)).sum(1)


def inception_score(
    probabilities: np.ndarray, splits: int = SPLITS, groups: np.ndarray | None = None
) -> Measured:
    """Mean score of `splits` equal parts of the samples (N, K), with the interval of `linear`.

    A sample's influence on the logarithm of its part's score is its KL(p(y|x) || p(y)). Parts are
    interleaved after sorting rows by a hash of their content: the order of the samples does not
    matter. With `groups` (N,), as the labels that samples are conditioned on, every part has its
    share of each. `splits` 1 is the score of all samples; parts have `SMALLEST_PART` of them or
    more, else there are fewer parts.
    """
    if len(probabilities) <= splits:
        raise DataError(
            f"{len(probabilities)} samples cannot be scored in {splits} splits: give more samples "
            "or fewer splits."
        )
    splits = min(splits, max(1, len(probabilities) // SMALLEST_PART))
    part_of = np.empty(len(probabilities), dtype=np.intp)
    part_of[_content_order(probabilities, groups)] = np.arange(len(probabilities)) % splits
    influence, scores = np.empty(len(probabilities)), []
    for part in range(splits):
        rows = part_of == part
        influence[rows] = divergences(probabilities[rows])
        scores.append(float(np.exp(influence[rows].mean())))
    value = float(np.mean(scores))
    return linear(value, value * influence, groups, scale="log")


def _content_order(probabilities: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Row numbers (N,) sorted by group, then by a hash of the row."""
    rows = np.ascontiguousarray(probabilities, dtype=np.float64)
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    keys = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
    return np.lexsort((keys, np.zeros(len(rows)) if groups is None else groups))


INCEPTION_SCORE = Metric(
    compute=lambda seen: inception_score(seen.probabilities, groups=seen.asked),
    spec=Spec(
        name="inception_score",
        label="Inception score",
        meaning="how clear and how varied samples look to a classifier",
        unit="effective number of classes",
        side="retain",
        better="more",
    ),
)
