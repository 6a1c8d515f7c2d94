"""Frechet distance between samples and real images, over any feature extractor."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from scipy import linalg

from efface.errors import DataError
from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import (
    BLOCKS,
    Estimate,
    distance_from_parts,
    distance_interval,
    split_in_halves,
    split_in_quarters,
)
from efface.records import Margin, Spec

FEW = 10  # samples a dimension below which the jackknife's interval is too wide
PAIRED = 256  # dimensions up to which leaving out pairs of blocks is affordable
SMALLEST_SPLIT = 8  # samples whose quarters have a covariance
LARGEST = 1024  # rows or columns, whichever are fewer, up to which many splits are affordable
MANY, FEW_SPLITS = (100, 25, 20), (24, 8, 8)  # halvings, quarterings, degrees of freedom they leave


def gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and unbiased covariance (D, D) of features (N, D), in float64."""
    features = features.astype(np.float64)
    return features.mean(0), np.cov(features, rowvar=False)


def frechet_distance(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al., 2017, eq. 6)."""
    return distance_from(mean_a, cov_a)(mean_b, cov_b)


def distance_from(
    mean: np.ndarray, covariance: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], float]:
    """`frechet_distance` from one Gaussian to many: its root is taken once."""
    values, vectors = linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T

    def distance(mean_b: np.ndarray, cov_b: np.ndarray) -> float:
        # tr (C_a C_b)^(1/2) through the symmetric C_a^(1/2) C_b C_a^(1/2): the same eigenvalues.
        cross = np.sqrt(np.clip(linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
        traces = np.trace(covariance) + np.trace(cov_b)
        return float(((mean - mean_b) ** 2).sum() + traces - 2 * cross)

    return distance


def fid(drawn: np.ndarray, real: np.ndarray) -> Estimate:
    """Frechet distance of features (N, D) and (M, D) with an interval for its value at N samples.

    With `FEW` samples a dimension and up to `PAIRED` dimensions it is that of `distance_interval`,
    else that of `distance_from_parts`, with fewer splits where roots are of more than `LARGEST`
    rows. Rows of the samples are to be sorted by label, as for `jackknife`. Raises DataError for
    too few images.
    """
    if len(drawn) < 3 or len(real) < 2:
        raise DataError(
            f"{len(drawn)} samples and {len(real)} real images are too few for a Frechet distance: "
            "give three and two at least."
        )
    count, dimensions = drawn.shape
    if count >= SMALLEST_SPLIT and (count < FEW * dimensions or dimensions > PAIRED):
        return _from_parts(drawn, real)
    distance, sums = distance_from(*gaussian(real)), _BlockSums(drawn)
    left_out, pairs = (
        np.array([distance(*sums.gaussian_without(*some)) for some in some_blocks])
        for some_blocks in (itertools.combinations(range(sums.blocks), size) for size in (1, 2))
    )
    return distance_interval(distance(*gaussian(drawn)), left_out, pairs)


def _from_parts(drawn: np.ndarray, real: np.ndarray) -> Estimate:
    distance, (count, dimensions) = _RowDistance(drawn, real), drawn.shape
    small = min(count // 2, dimensions) <= LARGEST
    halvings, quarterings, freedom = MANY if small else FEW_SPLITS
    halves = [[distance(h), distance(~h)] for h in split_in_halves(count, halvings)]
    quarters = [
        [distance(quarter == number) for number in range(4)]
        for quarter in split_in_quarters(count, quarterings)
    ]
    whole = distance(np.ones(count, dtype=bool))
    return distance_from_parts(whole, np.array(halves), np.array(quarters), freedom)


class _RowDistance:
    """Frechet distance of some of the samples to the real images, from the smaller Gram matrix."""

    def __init__(self, drawn: np.ndarray, real: np.ndarray) -> None:
        mean, covariance = gaussian(real)
        values, vectors = linalg.eigh(covariance)
        values = np.clip(values, 0, None)
        self._trace = float(values.sum())
        self._rows = drawn - mean
        self._scaled = self._rows @ (vectors * np.sqrt(values))

    def __call__(self, kept: np.ndarray) -> float:
        """Of the rows `kept`, (N,) bool, two at least."""
        rows, scaled = self._rows[kept], self._scaled[kept]
        count, width = rows.shape
        offset = rows.mean(0)
        rows -= offset
        scaled -= scaled.mean(0)
        # The eigenvalues of C_a^(1/2) C_b C_a^(1/2), but for zeros, in either order of the product.
        gram = scaled.T @ scaled if width < count else scaled @ scaled.T
        values = np.clip(linalg.eigvalsh(gram), 0, None) / (count - 1)
        traces = self._trace + float((rows**2).sum()) / (count - 1)
        return float((offset**2).sum()) + traces - 2 * float(np.sqrt(values).sum())


class _BlockSums:
    """Sums over blocks of rows that take turns, for the Gaussian of all rows but some blocks'."""

    def __init__(self, features: np.ndarray) -> None:
        features = features.astype(np.float64)
        self._centre = features.mean(0)  # squares about it lose no digits
        self.blocks = min(BLOCKS, len(features))
        parts = [features[block :: self.blocks] - self._centre for block in range(self.blocks)]
        self._counts = [len(part) for part in parts]
        self._sums = [part.sum(0) for part in parts]
        self._squares = [part.T @ part for part in parts]
        self._total = len(features), sum(self._sums), sum(self._squares)

    def gaussian_without(self, *blocks: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean (D,) and unbiased covariance (D, D) of the rows of all other blocks."""
        count, total, squares = self._total
        count -= sum(self._counts[block] for block in blocks)
        mean = (total - sum(self._sums[block] for block in blocks)) / count
        squares = squares - sum(self._squares[block] for block in blocks)
        covariance = (squares - count * np.outer(mean, mean)) / max(count - 1, 1)
        return self._centre + mean, covariance


class FID(Metric):
    """Frechet distance of retained-label samples to real images of the retained labels."""

    spec: ClassVar[Spec] = Spec(
        name="fid",
        label="Fréchet distance",
        meaning="between samples and real images; with features of Inception it is FID",
        unit="squared feature distance",
        side="retain",
        better="less",
        role="primary",
        margin=Margin(value=0.1, relative=True),
    )
    needs_reference: ClassVar[bool] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten
        assert reference is not None
        return fid(observed.features_by_label, reference)
