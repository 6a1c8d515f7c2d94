"""Kernel distance between samples and real images: unlike FID, unbiased with few samples."""

import numpy as np

from efface.errors import DataError
from efface.metrics.base import Metric
from efface.metrics.intervals import Measured, linear
from efface.records import Spec

ROWS = 128  # of a kernel matrix at a time: as many stay in a core's cache


def polynomial_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a . b / D + 1)^3 for rows (N, D) and (M, D): (N, M) (Binkowski et al., 2018, section 4)."""
    base = a @ (b.T / a.shape[1])
    base += 1
    return base * base * base  # numpy's power is ten times slower


def kid(drawn: np.ndarray, real: np.ndarray, groups: np.ndarray | None = None) -> Measured:
    """Unbiased squared MMD of features (N, D) and (M, D) with the polynomial kernel.

    Over all samples at once, which is what the mean over random subsets approaches, without their
    noise. It can be below 0: its mean is 0 for equal distributions if images are independent. Where
    labels take turns they are more even than that, and the value is lower by the kernel's spread
    between labels over N and over M: compare models of one protocol rather than one with 0.
    The interval, of `linear`, is for the samples' chance; the real images are taken as given.
    `groups` (N,) are labels whose counts are fixed. Raises DataError for too few images.
    """
    if len(drawn) < 3 or len(real) < 2:
        raise DataError(
            f"{len(drawn)} samples and {len(real)} real images are too few for a kernel distance: "
            "give three and two at least."
        )
    drawn, real = drawn.astype(np.float64), real.astype(np.float64)
    own, across = _kernel_means(drawn, drawn), _kernel_means(drawn, real)
    real_own = _kernel_means(real, real)
    distance = float(own.mean() + real_own.mean() - 2 * across.mean())
    # A sample's kernel with itself is no part of the unbiased value, but of the squared distance of
    # what was sampled, which is not below 0.
    excess = sum(
        float((_kernel_of_itself(rows) - means).mean()) / (len(rows) - 1)
        for rows, means in ((drawn, own), (real, real_own))
    )
    influence = 2 * (own - across)
    return linear(distance - excess, influence, groups, scale="root", floor=-excess)


def _kernel_means(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The kernel of each row (N, D) with rows (M, D), its mean (N,)."""
    parts = [a[start : start + ROWS] for start in range(0, len(a), ROWS)]
    return np.concatenate([polynomial_kernel(part, b).mean(1) for part in parts])


def _kernel_of_itself(rows: np.ndarray) -> np.ndarray:
    return ((rows**2).sum(1) / rows.shape[1] + 1) ** 3


KID = Metric(
    compute=lambda seen: kid(seen.features, seen.reference, seen.asked),
    spec=Spec(
        name="kid",
        label="KID",
        meaning="distance from real images, unbiased with few samples too",
        unit="squared kernel distance",
        side="retain",
        better="less",
    ),
    needs_reference=True,
)
