"""What is counted, and out of how many."""

from __future__ import annotations

import pytest

from efface.metrics.intervals import proportion
from efface.metrics.retained_accuracy import RETAINED_ACCURACY
from efface.metrics.unlearning_accuracy import UNLEARNING_ACCURACY
from tests.metrics.ends import ends, measure
from tests.metrics.samples import classified


def test_retained_accuracy_is_out_of_all_retained_samples():
    estimate = measure(RETAINED_ACCURACY, classified([1, 2, 1, 2, 1], [1, 2, 2, 2, 0]), [0], None)
    assert ends(estimate) == ends(proportion(3, 5))


def test_unlearning_and_retained_accuracy_are_complements():
    observed = classified([0] * 10, [0, 1, 1, 0, 1, 2, 1, 0, 1, 1])
    gone = measure(UNLEARNING_ACCURACY, observed, [0], None).value
    assert measure(RETAINED_ACCURACY, observed, [], None).value == pytest.approx(1 - gone)
