"""How often a detector finds the concept where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from efface.metrics.base import Metric, Observations, Side
from efface.metrics.intervals import Estimate, proportion


def rate_above(scores: np.ndarray, threshold: float) -> Estimate:
    """Share of scores (N,) above a threshold, with an exact interval."""
    return proportion(int((scores > threshold).sum()), len(scores))


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptRate(Metric):
    """Share of samples asked for under forgotten labels in which a detector finds the concept.

    The detector's score of the concept is the only probability (N, 1) that was observed.
    """

    name: ClassVar[str] = "concept_rate"
    side: ClassVar[Side] = "forget"
    unit: ClassVar[str] = "share"
    higher_is_better: ClassVar[bool | None] = False

    threshold: float

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten, reference
        return rate_above(observed.probabilities[:, 0], self.threshold)
