"""How much of the real variety is generated: k-nearest-neighbour recall."""

import numpy as np

from efface.metrics.base import Metric
from efface.metrics.intervals import SPLITS, Measured, share_by_halves
from efface.metrics.precision import NEIGHBOURS, pairs_in_balls, precision, require_neighbours
from efface.records import Margin, Spec

SPARE = 20  # neighbours beyond the k-th, for where half of them are left out


def recall(drawn: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS) -> Measured:
    """Share of real images (M, D) in the manifold of samples (N, D) (Kynkaanniemi et al., 2019).

    As `inside_manifold` says, with the interval of `share_from_halves`; neighbours and distances
    are computed once for all halves. Rows of the samples are to be sorted by label, as it says.
    """
    from sklearn.neighbors import NearestNeighbors  # a second to import

    require_neighbours(drawn, k)
    drawn, real = drawn.astype(np.float64), real.astype(np.float64)
    count = min(k + SPARE, len(drawn) - 1)
    distance, near = NearestNeighbors(n_neighbors=count).fit(drawn).kneighbors()
    squared = distance**2  # (N, count), of each sample, itself left out
    # Only pairs this near matter: a ball seldom ends beyond the last of so many neighbours.
    pairs = pairs_in_balls(real, drawn, squared[:, -1])
    image, sample, apart = map(np.concatenate, zip(*pairs, strict=True))
    images, first = np.unique(image, return_index=True)  # pairs come image by image

    def reached(kept: np.ndarray) -> np.ndarray:
        """Shares of real images (R,) in a ball around any of the samples `kept`, (R, N) bool."""
        full = kept[:, near].cumsum(2, dtype=np.int8) >= k  # whether k neighbours are kept by here
        radii = squared[np.arange(len(drawn)), full.argmax(2)]
        radii[~(kept & full[:, :, -1])] = -np.inf
        inside = np.zeros((len(kept), len(real)), dtype=bool)
        if len(image):
            inside[:, images] = np.logical_or.reduceat(apart <= radii[:, sample], first, axis=1)
        for row, centre in np.argwhere(kept & ~full[:, :, -1]):
            radius = np.sort(((drawn[kept[row]] - drawn[centre]) ** 2).sum(1))[k]  # itself first
            inside[row] |= ((real - drawn[centre]) ** 2).sum(1) <= radius
        return inside.mean(1)

    if len(drawn) < 2 * (k + 1):  # halves have no k-th neighbours
        value = float(reached(np.ones((1, len(drawn)), dtype=bool))[0])
        return Measured(value, 0.0, 1.0, np.zeros(SPLITS))
    return share_by_halves(reached, len(drawn), len(real), narrowing=0.5)


def precision_recall(
    drawn: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS
) -> tuple[Measured, Measured]:
    """Precision and recall of features (N, D) and (M, D) (Kynkaanniemi et al., 2019)."""
    return precision(drawn, real, k), recall(drawn, real, k)


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
