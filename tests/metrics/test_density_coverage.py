"""Density and coverage against brute force, scikit-learn and cases known by sight."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity, NearestNeighbors

from efface.errors import DataError
from efface.metrics.base import Observations
from efface.metrics.coverage import COVERAGE, coverage
from efface.metrics.density import DENSITY, density
from efface.metrics.intervals import mean, share_from_halves, split_in_halves
from efface.metrics.precision import inside_manifold
from tests.metrics.ends import measure


def points(seed: int, count: int, shift: float = 0.0, width: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, width))


def observed(drawn: np.ndarray, asked: np.ndarray | None = None) -> Observations:
    asked = np.zeros(len(drawn), dtype=np.int64) if asked is None else asked
    return Observations(asked=asked, probabilities=np.ones((len(drawn), 1)), features=drawn)


def in_words(drawn: np.ndarray, real: np.ndarray, k: int) -> tuple[float, float]:
    """Equations 3 and 4 of Naeem et al., 2020, word for word."""
    inside = np.zeros((len(real), len(drawn)), dtype=bool)
    for i, centre in enumerate(real):
        others = np.linalg.norm(np.delete(real, i, axis=0) - centre, axis=1)
        inside[i] = np.linalg.norm(drawn - centre, axis=1) <= np.sort(others)[k - 1]
    return inside.sum() / (k * len(drawn)), inside.any(1).mean()


@pytest.mark.parametrize("k", [1, 3, 5])
def test_both_equal_brute_force(k):
    drawn, real = points(k, 60, 0.8), points(10 + k, 40)
    expected = in_words(drawn, real, k)
    assert density(drawn, real, k).mean() == pytest.approx(expected[0], rel=1e-12)
    assert coverage(drawn, real, k).value == pytest.approx(expected[1], rel=1e-12)
    assert 0 < expected[1] < 1


def test_both_equal_scikit_learn_neighbours():
    """Relative difference at most 1e-4; density as the sum of a top-hat of every real image."""
    drawn, real = points(0, 300, 0.3), points(1, 200)
    nearest = NearestNeighbors(n_neighbors=5).fit(real)
    radii = nearest.kneighbors()[0][:, -1]  # without arguments a point is not its own neighbour
    samples = NearestNeighbors().fit(drawn)
    within = [samples.radius_neighbors(real[[i]], radii[i], False)[0] for i in range(200)]
    assert coverage(drawn, real).value == pytest.approx(np.mean([len(w) > 0 for w in within]), 1e-4)
    assert density(drawn, real).mean() == pytest.approx(sum(map(len, within)) / 1500, rel=1e-4)
    hat = KernelDensity(kernel="tophat", bandwidth=radii[0]).fit(real[[0]])
    assert np.isfinite(hat.score_samples(drawn)).sum() == len(within[0])


def test_real_images_have_density_about_one_and_are_covered():
    """The expectation of density is 1 for equal distributions, as is that of coverage at 1 - 2^-k.

    Naeem et al., 2020, lemmas 1 and 2; N = M = 2000 gives 0.969 for k = 5.
    """
    drawn, real = points(0, 2000), points(1, 2000)
    estimate = measure(DENSITY, observed(drawn), [], real)
    assert estimate.value == pytest.approx(1, abs=0.05)
    assert coverage(drawn, real).value == pytest.approx(1 - 2**-5, abs=0.015)


def test_one_stray_real_image_decides_precision_but_not_density():
    real = np.concatenate([points(0, 200), [[60.0, 0, 0]]])
    drawn = np.concatenate([points(1, 50), points(2, 50) + 30])
    assert inside_manifold(drawn, real)[50:].all()
    assert density(drawn, real)[50:].mean() <= 1 / 5
    assert density(drawn, real)[:50].mean() > 0.5


def test_half_of_the_modes_cover_half_of_the_real_images():
    real = np.concatenate([points(0, 100), points(1, 100) + 100])
    estimate = coverage(points(2, 400), real)
    assert 0.45 < estimate.value <= 0.5
    assert estimate.low <= estimate.value <= estimate.high


def test_the_interval_of_coverage_is_that_of_its_halves():
    drawn, real = points(0, 90, 0.5), points(1, 60)
    halves = [
        [in_words(drawn[kept], real, 5)[1], in_words(drawn[~kept], real, 5)[1]]
        for kept in split_in_halves(90)
    ]
    expected = share_from_halves(in_words(drawn, real, 5)[1], np.array(halves), 60)
    estimate = coverage(drawn, real)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )


def test_the_interval_of_density_is_that_of_a_mean_over_samples():
    drawn, real = points(0, 90, 0.5), points(1, 60)
    assert measure(DENSITY, observed(drawn), [], real) == mean(density(drawn, real))


@pytest.mark.parametrize("metric", [DENSITY, COVERAGE], ids=["density", "coverage"])
def test_the_interval_holds_the_expected_value_in_most_cases(metric):
    """N = M = 100, 150 draws; what must be held is the mean at that size to these real images.

    In 400 draws it held it in 94 % (density) and 97 % (coverage).
    """
    real = points(1, 100)
    estimates = [
        measure(metric, observed(points(seed, 100, 0.4)), [], real) for seed in range(2, 152)
    ]
    values = np.array([e.value for e in estimates])
    truth = values.mean()
    assert sum(e.low <= truth <= e.high for e in estimates) >= 134
    reach = np.mean([e.high - e.low for e in estimates]) / 2
    assert 0.75 < reach / (1.96 * values.std()) < 1.5


@pytest.mark.parametrize("metric", [DENSITY, COVERAGE], ids=["density", "coverage"])
def test_the_order_of_labels_does_not_change_the_interval(metric):
    asked = np.arange(200) % 10
    drawn, real = points(0, 200) + 5 * asked[:, None], points(1, 100) + 20
    order = np.argsort(asked, kind="stable")
    first = measure(metric, observed(drawn, asked), [], real)
    second = measure(metric, observed(drawn[order], asked[order]), [], real)
    assert (first.value, first.low, first.high) == pytest.approx(
        (second.value, second.low, second.high), abs=1e-12
    )


def test_fewer_real_images_than_neighbours_are_refused():
    for function in (density, coverage):
        with pytest.raises(DataError, match="5 images have no 5-th neighbours"):
            function(points(0, 20), points(1, 5))
