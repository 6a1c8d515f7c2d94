"""Leakage counts the forgotten labels that the classifier sees under retained ones."""

from __future__ import annotations

import numpy as np
import pytest

from efface.metrics.base import Observations
from efface.metrics.intervals import bounded_mean
from efface.metrics.leakage import LEAKAGE


@pytest.mark.parametrize(("forgotten", "leaked"), [([0], 2), ([0, 3], 3), ([4], 0)])
def test_samples_that_show_a_forgotten_label_are_counted(forgotten, leaked) -> None:
    seen = np.array([0, 1, 2, 0, 3, 1, 2, 2])
    observed = Observations(
        asked=np.array([1, 1, 2, 2] * 2),
        probabilities=np.eye(5)[seen],
        features=np.zeros((8, 0)),
        forgotten=forgotten,
    )
    found, expected = LEAKAGE.compute(observed), bounded_mean(np.arange(8) < leaked)
    assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)
