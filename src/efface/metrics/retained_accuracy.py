"""What else broke: samples asked for under the other labels that show what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from efface.metrics.base import Metric, Observations, Side
from efface.metrics.intervals import Estimate, proportion


class RetainedAccuracy(Metric):
    """Share of retained-label samples that the judge assigns to the label asked for."""

    name: ClassVar[str] = "retained_accuracy"
    side: ClassVar[Side] = "retain"
    unit: ClassVar[str] = "share of samples"
    higher_is_better: ClassVar[bool | None] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten, reference
        return proportion(int((observed.seen == observed.asked).sum()), len(observed))
