"""Precision and recall against a brute-force implementation and on cases known by sight."""

from __future__ import annotations

import numpy as np
import pytest

from efface.errors import DataError
from efface.metrics.base import Observations
from efface.metrics.intervals import proportion, share_from_halves, split_in_halves
from efface.metrics.precision import PRECISION, inside_manifold
from efface.metrics.recall import RECALL, recall
from tests.metrics.ends import ends, measure


def observed(drawn: np.ndarray) -> Observations:
    return Observations(
        asked=np.zeros(len(drawn), dtype=np.int64),
        probabilities=np.ones((len(drawn), 1)),
        features=drawn.astype(np.float32),
    )


def brute_force(points: np.ndarray, manifold: np.ndarray, k: int) -> list[bool]:
    """Equation 1 of Kynkaanniemi et al., 2019, word for word."""
    radii = []
    for i, centre in enumerate(manifold):
        others = np.linalg.norm(np.delete(manifold, i, axis=0) - centre, axis=1)
        radii.append(np.sort(others)[k - 1])
    return [bool((np.linalg.norm(manifold - point, axis=1) <= radii).any()) for point in points]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_membership_equals_brute_force(k):
    rng = np.random.default_rng(k)
    points, manifold = 1.5 * rng.normal(size=(60, 3)), rng.normal(size=(40, 3))
    expected = brute_force(points, manifold, k)
    assert inside_manifold(points, manifold, k).tolist() == expected
    assert 0 < sum(expected) < 60


def test_long_lists_are_cut_without_changing_the_answer():
    rng = np.random.default_rng(0)
    points, manifold = rng.normal(size=(2500, 4)), rng.normal(size=(50, 4))
    whole = inside_manifold(points, manifold)
    parts = [inside_manifold(p, manifold) for p in np.array_split(points, 7)]
    assert whole.tolist() == np.concatenate(parts).tolist()


def test_identical_sets_are_precise_and_complete():
    drawn = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
    assert measure(PRECISION, observed(drawn), [], drawn).value == 1
    assert measure(RECALL, observed(drawn), [], drawn).value == 1


def test_half_of_the_modes_are_precise_but_incomplete():
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 100
    real = np.concatenate([left, right])
    drawn = rng.normal(size=(60, 2)).astype(np.float32)
    precision = measure(PRECISION, observed(drawn), [], real)
    assert precision.value == np.mean(brute_force(drawn, real, 3)) > 0.9
    recall = measure(RECALL, observed(drawn), [], real)
    assert recall.value <= 0.5
    assert recall.value == np.mean(brute_force(real, drawn, 3))
    assert recall.low <= recall.value <= recall.high


def test_samples_far_from_everything_real_are_not_precise():
    rng = np.random.default_rng(2)
    real = rng.normal(size=(50, 2))
    drawn = np.concatenate([real[:30], rng.normal(size=(10, 2)) + 50])
    estimate = measure(PRECISION, observed(drawn), [], real)
    assert ends(estimate) == ends(proportion(30, 40))


def test_order_of_labels_does_not_change_the_interval_of_recall():
    rng = np.random.default_rng(3)
    asked = np.arange(200) % 10
    drawn = rng.normal(size=(200, 2)) + 10 * asked[:, None]
    real = rng.normal(size=(100, 2)) + 10 * (np.arange(100) % 10)[:, None]
    order = np.argsort(asked, kind="stable")
    estimates = [
        measure(
            RECALL,
            Observations(asked=asked[rows], probabilities=np.ones((200, 1)), features=drawn[rows]),
            [],
            real,
        )
        for rows in (np.arange(200), order)
    ]
    assert estimates[0] == estimates[1]


def halves_in_words(drawn: np.ndarray, real: np.ndarray) -> np.ndarray:
    """What each half reaches, computed anew for each."""

    def reached(kept: np.ndarray) -> float:
        return float(inside_manifold(real, drawn[kept]).mean())

    return np.array([[reached(kept), reached(~kept)] for kept in split_in_halves(len(drawn))])


@pytest.mark.parametrize("count", [17, 60, 1100])
def test_recall_and_its_interval_are_those_of_membership(count):
    rng = np.random.default_rng(count)
    drawn, real = rng.normal(size=(count, 3)), 1.5 * rng.normal(size=(80, 3))
    value = float(inside_manifold(real, drawn).mean())
    expected = share_from_halves(value, halves_in_words(drawn, real), 80, narrowing=0.5)
    estimate = recall(drawn, real)
    assert 0 < estimate.value < 1
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (expected.value, expected.low, expected.high), abs=1e-12
    )


def test_recall_is_right_where_one_half_holds_all_near_neighbours():
    """A crowd of which one half is all even rows; the few others have to be found anew."""
    (first, *_), rng = split_in_halves(200), np.random.default_rng(4)
    drawn = rng.normal(size=(200, 2)) + 50 * first[:, None]
    drawn[np.flatnonzero(~first)[:5]] += 50  # whose neighbours are all in the other half
    real = np.concatenate([drawn[:40] + 0.1, 60 * rng.random((40, 2))])
    halves = halves_in_words(drawn, real)
    expected = share_from_halves(recall(drawn, real).value, halves, 80, narrowing=0.5)
    assert recall(drawn, real).low == pytest.approx(expected.low, abs=1e-12)
    assert recall(drawn, real).high == pytest.approx(expected.high, abs=1e-12)


def test_samples_too_few_to_be_split_leave_recall_open():
    rng = np.random.default_rng(0)
    estimate = recall(rng.normal(size=(7, 2)), rng.normal(size=(30, 2)))
    assert (estimate.low, estimate.high) == (0, 1)


def test_too_few_images_have_no_manifold():
    few, many = np.random.default_rng(0).normal(size=(2, 30, 2))
    for metric, drawn, real in ((PRECISION, many, few[:3]), (RECALL, many[:3], few)):
        with pytest.raises(DataError, match="3 images have no 3-th neighbours"):
            measure(metric, observed(drawn), [], real)
