"""What is counted, and out of how many."""

from __future__ import annotations

import math

import numpy as np
import pytest

from efface.metrics.intervals import bounded_mean, proportion
from efface.metrics.unlearning_accuracy import (
    FORGOTTEN_ENTROPY,
    FORGOTTEN_PROBABILITY,
    UNLEARNING_ACCURACY,
)
from tests.metrics.ends import ends, measure
from tests.metrics.samples import classified

# Ten samples asked for under label 0; the judge sees 0 in three of them.
SEEN = [0, 1, 1, 0, 1, 2, 1, 0, 1, 1]


def test_unlearning_accuracy_is_out_of_the_samples_of_the_forgotten_label():
    estimate = measure(UNLEARNING_ACCURACY, classified([0] * 10, SEEN), [0], None)
    assert ends(estimate) == ends(proportion(7, 10))
    assert estimate.value == 0.7


def test_a_forgotten_label_drawn_as_another_forgotten_one_is_not_gone():
    asked = [0, 0, 1, 1]
    estimate = measure(UNLEARNING_ACCURACY, classified(asked, [0, 1, 1, 2]), [0, 1], None)
    assert ends(estimate) == ends(proportion(1, 4))


def test_probability_is_that_of_the_label_asked_for():
    estimate = measure(FORGOTTEN_PROBABILITY, classified([0] * 10, SEEN, sure=0.7), [0], None)
    expected = bounded_mean(np.array([0.7 if s == 0 else 0.15 for s in SEEN]))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (expected.value, expected.low, expected.high), rel=1e-4
    )
    assert estimate.value == pytest.approx((3 * 0.7 + 7 * 0.15) / 10)


@pytest.mark.parametrize(
    ("sure", "nats"),
    [(1 / 3, math.log(3)), (1.0, 0.0), (0.5, 0.5 * math.log(2) + 0.5 * math.log(4))],
)
def test_entropy_is_in_nats(sure, nats):
    estimate = measure(FORGOTTEN_ENTROPY, classified([0] * 10, SEEN, sure), [0], None)
    assert estimate.value == pytest.approx(nats, abs=1e-6)
    assert math.isfinite(estimate.low) and math.isfinite(estimate.high)
