"""Recall against a brute-force implementation and on cases known by sight."""

from __future__ import annotations

import numpy as np
import pytest

from efface.errors import DataError
from efface.metrics.intervals import share_from_halves, split_in_halves
from efface.metrics.precision import inside_manifold
from efface.metrics.recall import RECALL, recall
from tests.metrics.balls import in_balls
from tests.metrics.ends import measure
from tests.metrics.samples import by_label_and_in_turns, with_features


def test_identical_sets_are_complete():
    drawn = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
    assert measure(RECALL, with_features(drawn), [], drawn).value == 1


def test_samples_of_half_of_the_modes_are_incomplete():
    rng = np.random.default_rng(1)
    real = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 100])
    drawn = rng.normal(size=(60, 2)).astype(np.float32)
    estimate = measure(RECALL, with_features(drawn), [], real)
    assert estimate.value == in_balls(real, drawn, 3).any(1).mean() <= 0.5
    assert estimate.low <= estimate.value <= estimate.high


def test_order_of_labels_does_not_change_the_interval_of_recall():
    rng = np.random.default_rng(3)
    asked = np.arange(200) % 10
    drawn = rng.normal(size=(200, 2)) + 10 * asked[:, None]
    real = rng.normal(size=(100, 2)) + 10 * (np.arange(100) % 10)[:, None]
    estimates = [measure(RECALL, seen, [], real) for seen in by_label_and_in_turns(drawn, asked)]
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


def test_too_few_samples_have_no_manifold():
    few, many = np.random.default_rng(0).normal(size=(2, 30, 2))
    with pytest.raises(DataError, match="3 images have no 3-th neighbours"):
        measure(RECALL, with_features(few[:3]), [], many)
