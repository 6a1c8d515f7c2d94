"""How much of the real variety is drawn: k-nearest-neighbour recall."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from efface.metrics.base import Metric
from efface.metrics.intervals import SPLITS, Measured, share_from_halves, split_in_halves
from efface.metrics.precision import NEIGHBOURS, pairs_in_balls, require_neighbours
from efface.records import Margin, Spec

SPARE = 20  # neighbours beyond the k-th, for where half of them are left out


def recall(drawn: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS) -> Measured:
    """Share of real images (M, D) in the manifold of samples (N, D) (Kynkaanniemi et al., 2019).

    As `inside_manifold` says, with the interval of `share_from_halves`; neighbours and distances
    are computed once for all halves. Rows of the samples are to be sorted by label, as it says.
    """
    require_neighbours(drawn, k)
    drawn, real = drawn.astype(np.float64), real.astype(np.float64)
    count = min(k + SPARE, len(drawn) - 1)
    distance, near = NearestNeighbors(n_neighbors=count).fit(drawn).kneighbors()
    squared = distance**2  # (N, count), of each sample, itself left out
    # Only pairs this near matter: a ball seldom ends beyond the last of so many neighbours.
    pairs = pairs_in_balls(real, drawn, squared[:, -1])
    image, sample, apart = map(np.concatenate, zip(*pairs, strict=True))

    def reached(kept: np.ndarray) -> float:
        """Share of real images in a ball around any of the samples `kept`, (N,) bool."""
        rank = kept[near].cumsum(1, dtype=np.int8)  # how many neighbours up to here are kept
        known = kept & (rank[:, -1] >= k)
        radii = np.full(len(drawn), -np.inf)
        radii[known] = squared[known, (rank[known] >= k).argmax(1)]
        inside = np.zeros(len(real), dtype=bool)
        inside[image[apart <= radii[sample]]] = True
        for centre in drawn[kept & ~known]:
            radius = np.sort(((drawn[kept] - centre) ** 2).sum(1))[k]  # the first is itself
            inside |= ((real - centre) ** 2).sum(1) <= radius
        return float(inside.mean())

    value = reached(np.ones(len(drawn), dtype=bool))
    if len(drawn) < 2 * (k + 1):  # halves have no k-th neighbours
        return Measured(value, 0.0, 1.0, np.zeros(SPLITS))
    halves = [[reached(first), reached(~first)] for first in split_in_halves(len(drawn))]
    return share_from_halves(value, np.array(halves), len(real), narrowing=0.5)


RECALL = Metric(
    compute=lambda seen: recall(seen.features_by_label, seen.reference),
    spec=Spec(
        name="recall",
        label="Recall",
        meaning="how much of the variety of real images is generated",
        unit="share of real images",
        side="retain",
        better="more",
        role="secondary",
        margin=Margin(value=0.02),
    ),
    needs_reference=True,
)
