"""How often the forgotten class is still shown: one less unlearning accuracy."""

from __future__ import annotations

import pytest

from efface.metrics.class_rate import CLASS_RATE
from efface.metrics.intervals import proportion
from efface.metrics.unlearning_accuracy import UNLEARNING_ACCURACY
from tests.metrics.ends import ends, measure
from tests.metrics.samples import classified


def test_it_is_out_of_the_samples_of_all_forgotten_labels():
    samples = classified([0, 0, 1, 1, 1], [0, 1, 2, 2, 1])
    assert ends(measure(CLASS_RATE, samples, [0, 1], None)) == ends(proportion(3, 5))
    assert ends(measure(CLASS_RATE, samples, [0], None)) == ends(proportion(1, 5))


def test_it_is_the_complement_of_unlearning_accuracy():
    samples = classified([0] * 20, [0, 1, 2, 2] * 5)
    rate, gone = (measure(m, samples, [0], None) for m in (CLASS_RATE, UNLEARNING_ACCURACY))
    assert rate.value + gone.value == pytest.approx(1)
    assert (rate.low, rate.high) == pytest.approx((1 - gone.high, 1 - gone.low))
