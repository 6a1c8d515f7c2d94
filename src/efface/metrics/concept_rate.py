"""How often a detector finds the concept where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import Estimate, proportion
from efface.records import Margin, Spec


def rate_above(scores: np.ndarray, threshold: float) -> Estimate:
    """Share of scores (N,) above a threshold, with Wilson's interval."""
    return proportion(int((scores > threshold).sum()), len(scores))


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptRate(Metric):
    """Share of samples asked for under forgotten labels in which a detector finds the concept.

    The detector's score of the concept is the only probability (N, 1) that was observed.
    """

    spec: ClassVar[Spec] = Spec(
        name="concept_rate",
        label="Concept rate",
        meaning="samples conditioned on the concept in which a detector finds it, or a CLIP "
        "rather than its replacement",
        unit="share",
        side="forget",
        better="less",
        role="primary",
        margin=Margin(value=0.05),
        event="{it} was found in",
    )

    threshold: float

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten, reference
        return rate_above(observed.probabilities[:, 0], self.threshold)
