"""The retained class that lost most is found, and its interval knows that it was chosen."""

from __future__ import annotations

from efface.metrics.base import Observations
from efface.metrics.intervals import difference, proportion
from efface.metrics.worst_class import worst_class
from tests.metrics.ends import ends
from tests.metrics.samples import classified

LABELS = [1, 2, 3]


def observed(right: dict[int, int], count: int = 20) -> Observations:
    """`right` samples of each label are seen as it, the others as 0."""
    seen = [label if i < right[label] else 0 for label in LABELS for i in range(count)]
    return classified([label for label in LABELS for _ in range(count)], seen, classes=4)


ORIGINAL = observed({1: 18, 2: 12, 3: 20})
RESULT = observed({1: 18, 2: 11, 3: 4})


def test_the_label_that_fell_furthest_is_measured_for_every_model():
    metric = worst_class(RESULT, ORIGINAL)
    assert metric is not None and metric.spec.label == "Worst class (3)"
    own, original = metric.compute(RESULT), metric.compute(ORIGINAL)
    assert (own.value, original.value) == (0.2, 1.0)
    assert metric.samples(RESULT) == 20


def test_its_interval_is_that_of_one_chosen_among_all():
    metric = worst_class(RESULT, ORIGINAL)
    assert metric is not None
    assert ends(metric.compute(RESULT)) == ends(proportion(4, 20, 1 - 0.05 / 3))
    paired = difference(metric.compute(RESULT), metric.compute(ORIGINAL))
    assert paired is not None and paired.value == -0.8 and paired.low < -0.8 < paired.high < -0.3


def test_one_label_has_no_worst():
    one = classified([1] * 5, [1] * 5)
    assert worst_class(one, one) is None
