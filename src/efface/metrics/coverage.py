"""How much of the real variety is generated: recall that a stray sample does not raise."""

import numpy as np
from scipy.sparse import csr_array

from efface.metrics.base import Metric
from efface.metrics.density import NEIGHBOURS
from efface.metrics.intervals import Measured, share_by_halves
from efface.metrics.precision import ball_radii, pairs_in_balls
from efface.records import Spec


def coverage(drawn: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS) -> Measured:
    """Share of real images with a sample no further than their k-th real neighbour.

    Naeem et al., 2020, eq. 4, on features (N, D) and (M, D), with the interval of
    `share_from_halves`. Rows of the samples are to be sorted by label, as it says.
    """
    drawn, real = drawn.astype(np.float64), real.astype(np.float64)
    pairs = pairs_in_balls(drawn, real, ball_radii(real, k) ** 2)
    sample, image, _ = map(np.concatenate, zip(*pairs, strict=True))
    near = csr_array((np.ones(len(image)), (image, sample)), shape=(len(real), len(drawn)))

    def reached(kept: np.ndarray) -> np.ndarray:
        return (near @ kept.T.astype(np.float64) > 0).mean(0)

    return share_by_halves(reached, len(drawn), len(real))


COVERAGE = Metric(
    compute=lambda seen: coverage(seen.features_by_label, seen.reference),
    spec=Spec(
        name="coverage",
        label="Coverage",
        meaning="real images that have a sample near",
        unit="share of real images",
        side="retain",
        better="more",
    ),
    needs_reference=True,
)
