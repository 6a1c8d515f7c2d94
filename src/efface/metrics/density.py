"""How many real images are near a sample: precision that one stray real image does not decide."""

import numpy as np

from efface.metrics.base import Metric
from efface.metrics.intervals import mean
from efface.metrics.precision import count_balls
from efface.records import Spec

NEIGHBOURS = 5


def density(drawn: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Per sample, the number of real images' balls that it lies in, over k: (N, D), (M, D) -> (N,).

    Naeem et al., 2020, eq. 3, is the mean: about 1 for samples like the real images, and above
    where samples crowd in dense parts.
    """
    return count_balls(drawn, real, k) / k


DENSITY = Metric(
    compute=lambda seen: mean(density(seen.features, seen.reference)),
    spec=Spec(
        name="density",
        label="Density",
        meaning="how many real images are near a sample, relative to them",
        unit="relative to real images",
        side="retain",
        better="more",
    ),
    needs_reference=True,
)
