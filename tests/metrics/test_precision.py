"""Precision against a brute-force implementation and on cases known by sight."""

from __future__ import annotations

import numpy as np
import pytest

from efface.errors import DataError
from efface.metrics.intervals import proportion
from efface.metrics.precision import PRECISION, inside_manifold
from tests.metrics.balls import in_balls
from tests.metrics.ends import ends, measure
from tests.metrics.samples import with_features


@pytest.mark.parametrize("k", [1, 3, 5])
def test_membership_equals_brute_force(k):
    rng = np.random.default_rng(k)
    points, manifold = 1.5 * rng.normal(size=(60, 3)), rng.normal(size=(40, 3))
    expected = in_balls(points, manifold, k).any(1)
    assert inside_manifold(points, manifold, k).tolist() == expected.tolist()
    assert 0 < expected.sum() < 60


def test_long_lists_are_cut_without_changing_the_answer():
    rng = np.random.default_rng(0)
    points, manifold = rng.normal(size=(2500, 4)), rng.normal(size=(50, 4))
    whole = inside_manifold(points, manifold)
    parts = [inside_manifold(p, manifold) for p in np.array_split(points, 7)]
    assert whole.tolist() == np.concatenate(parts).tolist()


def test_identical_sets_are_precise():
    drawn = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
    assert measure(PRECISION, with_features(drawn), [], drawn).value == 1


def test_samples_of_half_of_the_modes_are_precise():
    rng = np.random.default_rng(1)
    real = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 100])
    drawn = rng.normal(size=(60, 2)).astype(np.float32)
    precision = measure(PRECISION, with_features(drawn), [], real)
    assert precision.value == in_balls(drawn, real, 3).any(1).mean() > 0.9


def test_samples_far_from_everything_real_are_not_precise():
    rng = np.random.default_rng(2)
    real = rng.normal(size=(50, 2))
    drawn = np.concatenate([real[:30], rng.normal(size=(10, 2)) + 50]).astype(np.float32)
    estimate = measure(PRECISION, with_features(drawn), [], real)
    assert ends(estimate) == ends(proportion(30, 40))


def test_too_few_real_images_have_no_manifold():
    few, many = np.random.default_rng(0).normal(size=(2, 30, 2))
    with pytest.raises(DataError, match="3 images have no 3-th neighbours"):
        measure(PRECISION, with_features(many), [], few[:3])
