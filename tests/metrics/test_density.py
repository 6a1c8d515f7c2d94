"""Density against brute force, scikit-learn and cases known by sight."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity, NearestNeighbors

from efface.errors import DataError
from efface.metrics.density import DENSITY, density
from efface.metrics.intervals import mean
from efface.metrics.precision import inside_manifold
from tests.metrics.balls import assert_interval_holds, in_balls, normal
from tests.metrics.ends import ends, measure
from tests.metrics.samples import by_label_and_in_turns, with_features


@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_equals_brute_force(k):
    """Equation 3 of Naeem et al., 2020, word for word."""
    drawn, real = normal(k, 60, 0.8), normal(10 + k, 40)
    expected = in_balls(drawn, real, k).sum(1) / k
    np.testing.assert_allclose(density(drawn, real, k), expected, rtol=1e-12)
    assert len(set(expected)) > 3


def test_it_is_the_sum_of_a_top_hat_on_every_real_image():
    """As scikit-learn finds neighbours and estimates densities; relative difference 1e-4."""
    drawn, real = normal(0, 300, 0.3), normal(1, 200)
    radii = NearestNeighbors(n_neighbors=5).fit(real).kneighbors()[0][:, -1]
    samples = NearestNeighbors().fit(drawn)
    within = [samples.radius_neighbors(real[[i]], radii[i], False)[0] for i in range(200)]
    assert density(drawn, real).mean() == pytest.approx(sum(map(len, within)) / 1500, rel=1e-4)
    hat = KernelDensity(kernel="tophat", bandwidth=radii[0]).fit(real[[0]])
    assert np.isfinite(hat.score_samples(drawn)).sum() == len(within[0])


def test_real_images_have_density_about_one():
    """The expectation for equal distributions (Naeem et al., 2020, lemma 1)."""
    estimate = measure(DENSITY, with_features(normal(0, 2000)), [], normal(1, 2000))
    assert estimate.value == pytest.approx(1, abs=0.05)


def test_one_stray_real_image_decides_precision_but_not_density():
    real = np.concatenate([normal(0, 200), [[60.0, 0, 0]]])
    drawn = np.concatenate([normal(1, 50), normal(2, 50) + 30])
    assert inside_manifold(drawn, real)[50:].all()
    assert density(drawn, real)[50:].mean() <= 1 / 5
    assert density(drawn, real)[:50].mean() > 0.5


def test_the_interval_is_that_of_a_mean_over_samples():
    drawn, real = normal(0, 90, 0.5), normal(1, 60)
    assert measure(DENSITY, with_features(drawn), [], real) == mean(density(drawn, real))


def test_the_interval_holds_the_expected_value_in_most_cases():
    assert_interval_holds(DENSITY)


def test_the_order_of_labels_does_not_change_the_interval():
    asked = np.arange(200) % 10
    drawn, real = normal(0, 200) + 5 * asked[:, None], normal(1, 100) + 20
    first, second = (
        measure(DENSITY, seen, [], real) for seen in by_label_and_in_turns(drawn, asked)
    )
    assert ends(first) == pytest.approx(ends(second), abs=1e-12)


def test_fewer_real_images_than_neighbours_are_refused():
    with pytest.raises(DataError, match="5 images have no 5-th neighbours"):
        density(normal(0, 20), normal(1, 5))
