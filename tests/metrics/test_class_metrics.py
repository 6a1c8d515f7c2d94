"""What is counted, and out of how many."""

from __future__ import annotations

import math

import numpy as np
import pytest

from efface.metrics.base import Observations
from efface.metrics.intervals import bounded_mean, proportion
from efface.metrics.retained_accuracy import RETAINED_ACCURACY
from efface.metrics.unlearning_accuracy import (
    FORGOTTEN_ENTROPY,
    FORGOTTEN_PROBABILITY,
    UNLEARNING_ACCURACY,
)
from tests.metrics.ends import ends, measure

# Ten samples asked for under label 0; the judge sees 0 in three of them.
SEEN = [0, 1, 1, 0, 1, 2, 1, 0, 1, 1]


def observations(asked: list[int], seen: list[int], sure: float = 0.7) -> Observations:
    """The judge gives `sure` to what it sees and the rest to two others in equal parts."""
    probabilities = np.full((len(seen), 3), (1 - sure) / 2, dtype=np.float32)
    probabilities[np.arange(len(seen)), seen] = sure
    return Observations(
        asked=np.array(asked), probabilities=probabilities, features=np.zeros((len(seen), 2))
    )


def test_the_judge_sees_the_most_probable_label():
    assert observations([0] * 10, SEEN).seen.tolist() == SEEN


def test_unlearning_accuracy_is_out_of_the_samples_of_the_forgotten_label():
    estimate = measure(UNLEARNING_ACCURACY, observations([0] * 10, SEEN), [0], None)
    assert ends(estimate) == ends(proportion(7, 10))
    assert estimate.value == 0.7


def test_a_forgotten_label_drawn_as_another_forgotten_one_is_not_gone():
    asked = [0, 0, 1, 1]
    estimate = measure(UNLEARNING_ACCURACY, observations(asked, [0, 1, 1, 2]), [0, 1], None)
    assert ends(estimate) == ends(proportion(1, 4))


def test_unlearning_and_retained_accuracy_are_complements():
    observed = observations([0] * 10, SEEN)
    gone = measure(UNLEARNING_ACCURACY, observed, [0], None).value
    assert measure(RETAINED_ACCURACY, observed, [], None).value == pytest.approx(1 - gone)


def test_retained_accuracy_is_out_of_all_retained_samples():
    estimate = measure(RETAINED_ACCURACY, observations([1, 2, 1, 2, 1], [1, 2, 2, 2, 0]), [0], None)
    assert ends(estimate) == ends(proportion(3, 5))


def test_probability_is_that_of_the_label_asked_for():
    estimate = measure(FORGOTTEN_PROBABILITY, observations([0] * 10, SEEN), [0], None)
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
    estimate = measure(FORGOTTEN_ENTROPY, observations([0] * 10, SEEN, sure), [0], None)
    assert estimate.value == pytest.approx(nats, abs=1e-6)
    assert math.isfinite(estimate.low) and math.isfinite(estimate.high)
