"""Which classes are nearest, and how often their samples still show them."""

from __future__ import annotations

import numpy as np
import pytest

from efface.metrics.base import Observations
from efface.metrics.intervals import bounded_mean
from efface.metrics.nearest_classes import nearest_classes, nearest_labels

PLACES = {0: (0.0, 0.0), 1: (3.0, 0.0), 2: (0.0, 1.0), 3: (9.0, 0.0), 4: (8.0, 0.5)}


def images() -> tuple[np.ndarray, np.ndarray]:
    """Two images a class, on both sides of its place."""
    labels = np.repeat(list(PLACES), 2)
    away = np.tile([[0.1, 0.2], [-0.1, -0.2]], (len(PLACES), 1))
    return np.array([PLACES[label] for label in labels]) + away, labels


@pytest.mark.parametrize(
    ("forgotten", "nearest"), [([0], [2, 1, 4]), ([3], [4, 1, 0]), ([0, 3], [2, 4, 1])]
)
def test_classes_are_ordered_by_the_distance_of_their_means(forgotten, nearest) -> None:
    assert nearest_labels(*images(), forgotten) == nearest


def test_without_images_of_either_side_none_is_near() -> None:
    features, labels = images()
    assert nearest_labels(features, labels, []) == nearest_labels(features, labels, [7]) == []
    assert nearest_labels(features, labels, list(PLACES)) == []


def test_only_samples_of_the_nearest_classes_count() -> None:
    asked = np.array([1, 1, 2, 2, 4, 4])
    seen = np.array([1, 3, 2, 2, 0, 0])
    observed = Observations(
        asked=asked, probabilities=np.eye(5)[seen], features=np.zeros((6, 0)), forgotten=[0]
    )
    metric = nearest_classes([2, 1])
    found, expected = metric.compute(observed), bounded_mean(np.array([1, 0, 1, 1]) == 1)
    assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)
    assert metric.samples(observed) == 4
    assert metric.spec.label == "Nearest classes (2, 1)"
