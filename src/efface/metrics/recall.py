"""How much of the real variety is drawn: k-nearest-neighbour recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from sklearn.neighbors import NearestNeighbors

from efface.metrics.base import Metric, Observations, Side
from efface.metrics.intervals import BLOCKS, Estimate, from_left_out
from efface.metrics.precision import NEIGHBOURS, ball_radii, squared_distances

SPARE = 12  # neighbours beyond the k-th, for where some are left out


def recall(drawn: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS) -> Estimate:
    """Share of real images (M, D) in the manifold of samples (N, D), with the jackknife's interval.

    As `jackknife` of `inside_manifold`, but neighbours and distances are computed once for all
    blocks. Rows are to be sorted by label, as for `jackknife`.
    """
    drawn, real = drawn.astype(np.float64), real.astype(np.float64)
    blocks = min(BLOCKS, len(drawn))
    radii = _radii_without_each_block(drawn, np.arange(len(drawn)) % blocks, k)
    inside = np.empty((len(real), len(radii)), dtype=bool)
    for rows, squared in squared_distances(real, drawn):
        for column, radius in enumerate(radii):
            inside[rows, column] = (squared <= radius).any(1)
    value, *left_out = inside.mean(0)
    return from_left_out(float(value), np.array(left_out))


def _radii_without_each_block(points: np.ndarray, block_of: np.ndarray, k: int) -> list[np.ndarray]:
    """Squared radii (N,): of all points, then without each block; -inf for what is left out."""
    radii = [ball_radii(points, k) ** 2]
    neighbours = NearestNeighbors(n_neighbors=min(k + SPARE, len(points) - 1)).fit(points)
    distance, index = neighbours.kneighbors()  # of each point, itself left out
    for block in range(block_of.max() + 1):
        kept = block_of != block
        rank = kept[index].cumsum(1)  # how many neighbours up to here are kept
        squared = np.full(len(points), -np.inf)
        if (rank[kept, -1] >= k).all():
            kth = (rank >= k).argmax(1)
            squared[kept] = distance[kept, kth[kept]] ** 2
        else:
            squared[kept] = ball_radii(points[kept], k) ** 2
        radii.append(squared)
    return radii


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
        return recall(observed.features_by_label, reference)
