"""How sure the judge is of single samples, and how varied it finds them together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.special import rel_entr

from efface.errors import DataError
from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import BLOCKS, Estimate, jackknife
from efface.records import Spec

SPLITS = 10


def score(probabilities: np.ndarray) -> float:
    """Exp of the mean KL(p(y|x) || p(y)) over all samples (N, K) (Salimans et al., 2016)."""
    p = probabilities.astype(np.float64)
    return float(np.exp(rel_entr(p, p.mean(0)).sum(1).mean()))


def inception_score(
    probabilities: np.ndarray, splits: int = SPLITS, groups: np.ndarray | None = None
) -> Estimate:
    """Mean score of `splits` equal parts of the samples (N, K), with the jackknife's interval.

    Parts are interleaved after sorting rows by a hash of their content: the order of the samples
    does not matter, and chance spreads over the parts as if they were shuffled. Sorting by the
    values themselves would make the parts alike and the interval too narrow. With `groups` (N,),
    as the labels that samples were asked for, every part has its share of each. `splits` 1 is the
    score of all samples.
    """
    if len(probabilities) <= splits:
        raise DataError(
            f"{len(probabilities)} samples cannot be scored in {splits} splits: give more samples "
            "or fewer splits."
        )
    ordered = probabilities[_content_order(probabilities, groups)]
    rows = np.arange(len(ordered))
    # Shifted by one with every round of the jackknife's blocks: each of them takes from all parts,
    # and the rows that are left stay in theirs.
    part_of = (rows + rows // BLOCKS) % splits

    def statistic(kept: np.ndarray) -> float:
        parts = [kept[part_of[kept] == part] for part in range(splits)]
        return float(np.mean([score(ordered[part]) for part in parts if len(part)]))

    return jackknife(statistic, len(ordered))


def _content_order(probabilities: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Row numbers (N,) sorted by group, then by a hash of the row."""
    rows = np.ascontiguousarray(probabilities, dtype=np.float64)
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    keys = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
    return np.lexsort((keys, np.zeros(len(rows)) if groups is None else groups))


class InceptionScore(Metric):
    """Inception score of retained-label samples under the judge.

    Copies of a forgotten image are to be left out before, as SISS does.
    """

    spec: ClassVar[Spec] = Spec(
        name="inception_score",
        label="Inception score",
        meaning="how clear and how varied samples look to a classifier",
        unit="effective number of classes",
        side="retain",
        better="more",
    )

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten, reference
        return inception_score(observed.probabilities, groups=observed.asked)
