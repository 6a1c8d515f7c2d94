"""How much of the real variety is drawn: k-nearest-neighbour recall."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from efface.metrics.base import Metric
from efface.metrics.intervals import SPLITS, Measured, share_from_halves, split_in_halves
from efface.metrics.precision import NEIGHBOURS, require_neighbours, squared_distances
from efface.records import Margin, Spec

SPARE = 20  # neighbours beyond the k-th, for where half of them are left out


def recall(drawn: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS) -> Measured:
    """Share of real images (M, D) in the manifold of samples (N, D) (Kynkaanniemi et al., 2019).

    As `inside_manifold` says, with the interval of `share_from_halves`; neighbours and distances
    are computed once for all halves. Rows of the samples are to be sorted by label, as it says.
    """
    drawn, real = drawn.astype(np.float64), real.astype(np.float64)
    manifold = _Manifold(drawn, real, k)
    value = manifold.share()
    if len(drawn) < 2 * (k + 1):  # halves have no k-th neighbours
        return Measured(value, 0.0, 1.0, np.zeros(SPLITS))
    halves = [manifold.shares_of_halves(first) for first in split_in_halves(len(drawn))]
    return share_from_halves(value, np.array(halves), len(real), narrowing=0.5)


class _Manifold:
    """Balls around samples to their k-th neighbour, of all samples or of some."""

    def __init__(self, drawn: np.ndarray, real: np.ndarray, k: int) -> None:
        require_neighbours(drawn, k)
        self._drawn, self._real, self._k = drawn, real, k
        near = min(k + SPARE, len(drawn) - 1)
        distance, self._near = NearestNeighbors(n_neighbors=near).fit(drawn).kneighbors()
        self._squared = distance**2  # (N, near), of each sample, itself left out
        self._places = np.arange(1, near + 1, dtype=np.int8)
        found = [
            (rows.start + row, sample, squared[row, sample])
            for rows, squared in squared_distances(real, drawn)
            for row, sample in [np.nonzero(squared <= self._squared[:, -1])]
        ]
        # Only pairs this near matter: a ball seldom ends beyond the last of so many neighbours.
        self._image, self._sample, self._apart = map(np.concatenate, zip(*found, strict=True))

    def share(self) -> float:
        """Of the real images, those in the manifold of all samples."""
        return float(self._inside(self._squared[:, self._k - 1]).mean())

    def shares_of_halves(self, first: np.ndarray) -> list[float]:
        """The same for the samples `first`, (N,) bool, and for all others."""
        rank = first[self._near].cumsum(1, dtype=np.int8)  # how many up to here are in the first
        return [
            self._share_of(first, rank),
            self._share_of(~first, self._places - rank),
        ]

    def _share_of(self, kept: np.ndarray, rank: np.ndarray) -> float:
        """Of the samples `kept`; `rank` (N, near) is how many neighbours up to here are kept."""
        known = kept & (rank[:, -1] >= self._k)
        radii = np.full(len(kept), -np.inf)
        radii[known] = self._squared[known, (rank[known] >= self._k).argmax(1)]
        inside = self._inside(radii)
        for sample in np.flatnonzero(kept & ~known).tolist():
            inside |= self._ball(sample, kept)
        return float(inside.mean())

    def _inside(self, radii: np.ndarray) -> np.ndarray:
        """(M,) which real images lie in a ball around any sample, of squared radii (N,)."""
        inside = np.zeros(len(self._real), dtype=bool)
        inside[self._image[self._apart <= radii[self._sample]]] = True
        return inside

    def _ball(self, sample: int, kept: np.ndarray) -> np.ndarray:
        """Which real images lie in the ball of a sample whose near neighbours are not kept."""
        centre = self._drawn[sample]
        apart = np.sort(((self._drawn[kept] - centre) ** 2).sum(1))  # the first is itself
        return ((self._real - centre) ** 2).sum(1) <= apart[self._k]


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
