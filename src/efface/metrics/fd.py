"""Frechet distance between samples and real images, over any feature extractor."""

import numpy as np
from scipy import linalg

from efface.errors import DataError
from efface.metrics.base import Metric
from efface.metrics.intervals import Measured, linear
from efface.records import Margin, Spec


def frechet_distance(
    drawn: np.ndarray, real: np.ndarray, groups: np.ndarray | None = None
) -> Measured:
    """Frechet distance of features (N, D) and (M, D), with the interval of its root by `linear`.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al., 2017, eq. 6). With the
    distance's influence function, 2 d c + c (1 - T) c of a sample c off the samples' mean,
    d that mean off the real one's, T the optimal transport of their Gaussian to that of the real
    images. `groups` (N,) are labels whose counts are fixed. The interval is for the value at N
    samples; conservative with fewer than about ten samples a dimension. Raises DataError for too
    few images.
    """
    if len(drawn) < 3 or len(real) < 2:
        raise DataError(
            f"{len(drawn)} samples and {len(real)} real images are too few for a Frechet distance: "
            "give three and two at least."
        )
    real = real.astype(np.float64)
    mean = real.mean(0)
    values, vectors = linalg.eigh(np.atleast_2d(np.cov(real, rowvar=False)))
    values = np.clip(values, 0, None)
    rows = drawn - mean
    offset = rows.mean(0)
    rows -= offset
    freedom = len(rows) - 1
    transported = _transported(rows @ (vectors * np.sqrt(values)), freedom)
    spread = (rows**2).sum(1)
    moments = (spread.sum() - 2 * transported.sum()) / freedom + values.sum()
    influence = 2 * rows @ offset + spread - transported
    return linear(float((offset**2).sum() + moments), influence, groups, scale="root")


def _transported(scaled: np.ndarray, freedom: int) -> np.ndarray:
    """The products c T c (N,) of samples c, from C_r^(1/2) c (N, D).

    Their sum over `freedom` is the trace of (C_r^(1/2) C C_r^(1/2))^(1/2). With `scaled` = U S V
    they are U^2 S freedom^(1/2), from whichever Gram matrix is smaller.
    """
    if scaled.shape[0] <= scaled.shape[1]:
        squares, vectors = linalg.eigh(scaled @ scaled.T)
        return vectors**2 @ np.sqrt(np.clip(squares, 0, None)) * freedom**0.5
    squares, vectors = linalg.eigh(scaled.T @ scaled)
    lengths = np.sqrt(np.clip(squares, 0, None))
    some = lengths > lengths.max() * 1e-8
    return (scaled @ vectors[:, some]) ** 2 @ (1 / lengths[some]) * freedom**0.5


FD = Metric(
    compute=lambda seen: frechet_distance(seen.features, seen.reference, seen.asked),
    spec=Spec(
        name="fd",
        label="Fréchet distance",
        meaning="distance between the features of samples and of real images",
        unit="squared feature distance",
        side="retain",
        better="less",
        role="primary",
        margin=Margin(value=0.1, relative=True),
    ),
    needs_reference=True,
)
