"""How many samples look real: k-nearest-neighbour precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from sklearn.neighbors import NearestNeighbors

from efface.metrics.base import Metric, Observations, Side
from efface.metrics.intervals import Estimate, proportion

NEIGHBOURS = 3


def inside_manifold(points: np.ndarray, manifold: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """(N,) whether a point lies in any ball around a manifold row with its k-th neighbour's radius.

    Points (N, D), manifold (M, D). Kynkaanniemi et al., 2019, eq. 1.
    """
    radii = NearestNeighbors(n_neighbors=k + 1).fit(manifold).kneighbors(manifold)[0][:, -1]
    inside = np.zeros(len(points), dtype=bool)
    squares = (manifold**2).sum(1)
    for start in range(0, len(points), 1024):
        rows = points[start : start + 1024]
        squared = (rows**2).sum(1)[:, None] + squares[None] - 2 * rows @ manifold.T
        inside[start : start + 1024] = (squared <= radii[None] ** 2).any(1)
    return inside


class Precision(Metric):
    """Share of retained-label samples that lie in the manifold of the real images."""

    name: ClassVar[str] = "precision"
    side: ClassVar[Side] = "retain"
    unit: ClassVar[str] = "share of samples"
    higher_is_better: ClassVar[bool | None] = True
    needs_reference: ClassVar[bool] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten
        assert reference is not None
        inside = inside_manifold(observed.features.astype(np.float64), reference.astype(np.float64))
        return proportion(int(inside.sum()), len(inside))
