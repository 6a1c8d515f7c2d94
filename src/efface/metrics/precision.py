"""How many samples look real: k-nearest-neighbour precision."""

from collections.abc import Iterator

import numpy as np

from efface.errors import DataError
from efface.metrics.base import Metric
from efface.metrics.intervals import Measured, bounded_mean
from efface.records import Margin, Spec

NEIGHBOURS = 3
ROWS = 1024  # of a matrix of distances at a time, for its memory


def ball_radii(points: np.ndarray, k: int) -> np.ndarray:
    """Distance (M,) of each of M points (M, D) to its k-th neighbour, itself left out.

    Raises DataError for too few points.
    """
    from sklearn.neighbors import NearestNeighbors  # a second to import

    require_neighbours(points, k)
    return NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, -1]


def require_neighbours(points: np.ndarray, k: int) -> None:
    """Raise DataError for too few points."""
    if len(points) <= k:
        raise DataError(
            f"{len(points)} images have no {k}-th neighbours: give more real images and samples."
        )


def pairs_in_balls(
    points: np.ndarray, centres: np.ndarray, squared_radii: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Every point (N, D) within the radius of a centre (M, D), some points at a time.

    As the point's row, the centre's row and their squared distance; all in float64.
    """
    squares = (centres**2).sum(1)
    for start in range(0, len(points), ROWS):
        part = points[start : start + ROWS]
        squared = (part**2).sum(1)[:, None] + squares - 2 * part @ centres.T
        point, centre = np.nonzero(squared <= squared_radii)
        yield start + point, centre, squared[point, centre]


def count_balls(points: np.ndarray, manifold: np.ndarray, k: int) -> np.ndarray:
    """In how many balls a point lies, (N,): one around each manifold row, to its k-th neighbour.

    Points (N, D), manifold (M, D).
    """
    points, manifold = points.astype(np.float64), manifold.astype(np.float64)
    counts = np.zeros(len(points), dtype=np.int64)
    for point, *_ in pairs_in_balls(points, manifold, ball_radii(manifold, k) ** 2):
        counts += np.bincount(point, minlength=len(points))
    return counts


def inside_manifold(points: np.ndarray, manifold: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """(N,) whether a point lies in any ball around a manifold row with its k-th neighbour's radius.

    Points (N, D), manifold (M, D). Kynkaanniemi et al., 2019, eq. 1.
    """
    return count_balls(points, manifold, k) > 0


def precision(drawn: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS) -> Measured:
    """Share of samples (N, D) in the manifold of real images (M, D), as `inside_manifold` says."""
    return bounded_mean(inside_manifold(drawn, real, k))


PRECISION = Metric(
    compute=lambda seen: precision(seen.features, seen.reference),
    spec=Spec(
        name="precision",
        label="Precision",
        meaning="samples that look like real images",
        unit="share of samples",
        side="retain",
        better="more",
        role="secondary",
        margin=Margin(value=0.02),
    ),
    needs_reference=True,
)
