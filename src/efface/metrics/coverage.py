"""How much of the real variety is drawn: recall that a stray sample does not raise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from efface.metrics.base import Metric, Observations, Side
from efface.metrics.density import NEIGHBOURS
from efface.metrics.intervals import BLOCKS, Estimate, from_left_out
from efface.metrics.precision import ball_radii, squared_distances


def coverage(drawn: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS) -> Estimate:
    """Share of real images with a sample no further than their k-th real neighbour.

    Naeem et al., 2020, eq. 4, on features (N, D) and (M, D), with the grouped jackknife's interval
    over the samples. Rows are to be sorted by label, as for `jackknife`.
    """
    drawn, real = drawn.astype(np.float64), real.astype(np.float64)
    radii = ball_radii(real, k)
    blocks = min(BLOCKS, len(drawn))
    block_of = np.arange(len(drawn)) % blocks
    order = np.argsort(block_of, kind="stable")
    first = np.searchsorted(block_of[order], np.arange(blocks))
    reached = np.zeros((len(real), blocks), dtype=bool)
    for rows, squared in squared_distances(real, drawn[order]):
        nearest = np.minimum.reduceat(squared, first, axis=1)  # (rows, blocks)
        reached[rows] = nearest <= radii[rows, None] ** 2
    reached_by = reached.sum(1)
    left_out = (reached_by[:, None] > reached).mean(0)  # some other block reaches it
    return from_left_out(float((reached_by > 0).mean()), left_out)


class Coverage(Metric):
    """Share of the real retained images that have a retained-label sample near; k = 5."""

    name: ClassVar[str] = "coverage"
    side: ClassVar[Side] = "retain"
    unit: ClassVar[str] = "share of real images"
    higher_is_better: ClassVar[bool | None] = True
    needs_reference: ClassVar[bool] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten
        assert reference is not None
        return coverage(observed.features_by_label, reference)
