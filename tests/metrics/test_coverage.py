"""Coverage against brute force, scikit-learn and cases known by sight."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from efface.errors import DataError
from efface.metrics.coverage import COVERAGE, coverage
from efface.metrics.intervals import share_from_halves, split_in_halves
from tests.metrics.balls import assert_interval_holds, in_balls, normal
from tests.metrics.ends import ends, measure
from tests.metrics.samples import by_label_and_in_turns


def in_words(drawn: np.ndarray, real: np.ndarray, k: int) -> float:
    """Equation 4 of Naeem et al., 2020, word for word."""
    return in_balls(drawn, real, k).any(0).mean()


@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_equals_brute_force(k):
    drawn, real = normal(k, 60, 0.8), normal(10 + k, 40)
    expected = in_words(drawn, real, k)
    assert coverage(drawn, real, k).value == pytest.approx(expected, rel=1e-12)
    assert 0 < expected < 1


def test_it_equals_scikit_learn_neighbours():
    """Relative difference at most 1e-4."""
    drawn, real = normal(0, 300, 0.3), normal(1, 200)
    # Without arguments a point is not its own neighbour.
    radii = NearestNeighbors(n_neighbors=5).fit(real).kneighbors()[0][:, -1]
    samples = NearestNeighbors().fit(drawn)
    within = [samples.radius_neighbors(real[[i]], radii[i], False)[0] for i in range(200)]
    assert coverage(drawn, real).value == pytest.approx(np.mean([len(w) > 0 for w in within]), 1e-4)


def test_real_images_are_covered():
    """The expectation for equal distributions is 1 - 2^-k (Naeem et al., 2020, lemma 2).

    N = M = 2000 gives 0.969 for k = 5.
    """
    covered = coverage(normal(0, 2000), normal(1, 2000)).value
    assert covered == pytest.approx(1 - 2**-5, abs=0.015)


def test_half_of_the_modes_cover_half_of_the_real_images():
    real = np.concatenate([normal(0, 100), normal(1, 100) + 100])
    estimate = coverage(normal(2, 400), real)
    assert 0.45 < estimate.value <= 0.5
    assert estimate.low <= estimate.value <= estimate.high


def test_the_interval_is_that_of_its_halves():
    drawn, real = normal(0, 90, 0.5), normal(1, 60)
    halves = [
        [in_words(drawn[kept], real, 5), in_words(drawn[~kept], real, 5)]
        for kept in split_in_halves(90)
    ]
    expected = share_from_halves(in_words(drawn, real, 5), np.array(halves), 60)
    assert ends(coverage(drawn, real)) == pytest.approx(ends(expected))


def test_the_interval_holds_the_expected_value_in_most_cases():
    assert_interval_holds(COVERAGE)


def test_the_order_of_labels_does_not_change_the_interval():
    asked = np.arange(200) % 10
    drawn, real = normal(0, 200) + 5 * asked[:, None], normal(1, 100) + 20
    first, second = (
        measure(COVERAGE, seen, [], real) for seen in by_label_and_in_turns(drawn, asked)
    )
    assert ends(first) == pytest.approx(ends(second), abs=1e-12)


def test_fewer_real_images_than_neighbours_are_refused():
    with pytest.raises(DataError, match="5 images have no 5-th neighbours"):
        coverage(normal(0, 20), normal(1, 5))
