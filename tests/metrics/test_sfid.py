"""Spatial features see where things are; the distance is that of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from efface.errors import DataError
from efface.metrics.base import Observations
from efface.metrics.fd import FD
from efface.metrics.sfid import SFID
from tests.metrics.ends import measure


def observed(maps: np.ndarray) -> Observations:
    """Maps (N, C, H, W): pooled features are their means."""
    return Observations(
        asked=np.zeros(len(maps), dtype=np.int64),
        probabilities=np.ones((len(maps), 1)),
        features=maps.mean((2, 3)),
        spatial=maps.reshape(len(maps), -1),
    )


def test_value_is_the_closed_form_of_gaussians():
    """Relative difference at most 1e-9, against the formula with a matrix square root."""
    rng = np.random.default_rng(0)
    drawn, real = rng.normal(size=(300, 2, 2, 2)), rng.normal(0.2, 1.3, (250, 8))
    (mean_a, cov_a), (mean_b, cov_b) = (
        (rows.mean(0), np.cov(rows.T)) for rows in (real, drawn.reshape(300, 8))
    )
    root = np.real(linalg.sqrtm(cov_a @ cov_b))
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert measure(SFID, observed(drawn), [], real).value == pytest.approx(expected, rel=1e-9)


def test_what_moved_is_seen_by_sfid_and_not_by_fid():
    maps = np.random.default_rng(1).normal(size=(400, 2, 2, 2)) + np.arange(4).reshape(2, 2)
    turned = maps[:, :, ::-1]
    real = observed(maps)
    assert real.spatial is not None
    assert measure(FD, observed(turned), [], real.features).value == pytest.approx(0, abs=1e-9)
    assert measure(SFID, observed(turned), [], real.spatial).value > 10


def test_samples_without_spatial_features_are_refused():
    plain = Observations(
        asked=np.zeros(3), probabilities=np.ones((3, 1)), features=np.zeros((3, 2))
    )
    with pytest.raises(DataError, match="sfid needs spatial features"):
        measure(SFID, plain, [], np.zeros((3, 2)))
    assert SFID.needs_spatial and not FD.needs_spatial
