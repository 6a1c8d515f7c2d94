"""How much of the real variety is drawn: k-nearest-neighbour recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from efface.metrics.base import Metric, Observations, Side
from efface.metrics.intervals import Estimate, jackknife
from efface.metrics.precision import inside_manifold


class Recall(Metric):
    """Share of the real retained images that lie in the manifold of the samples."""

    name: ClassVar[str] = "recall"
    side: ClassVar[Side] = "retain"
    unit: ClassVar[str] = "share of real images"
    higher_is_better: ClassVar[bool | None] = True
    needs_reference: ClassVar[bool] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten
        assert reference is not None
        real = reference.astype(np.float64)
        drawn = observed.features_by_label.astype(np.float64)
        return jackknife(lambda rows: float(inside_manifold(real, drawn[rows]).mean()), len(drawn))
