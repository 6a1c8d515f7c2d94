"""Frechet distance between samples and real images, over any feature extractor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from scipy import linalg

from efface.metrics.base import Metric, Observations, Side
from efface.metrics.intervals import Estimate, jackknife


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


class FID(Metric):
    """Frechet distance of retained-label samples to real images of the retained labels."""

    name: ClassVar[str] = "fid"
    side: ClassVar[Side] = "retain"
    unit: ClassVar[str] = "squared feature distance"
    higher_is_better: ClassVar[bool | None] = False
    needs_reference: ClassVar[bool] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten
        assert reference is not None
        distance, drawn = distance_from(*gaussian(reference)), observed.features_by_label
        return jackknife(lambda rows: distance(*gaussian(drawn[rows])), len(drawn))
