"""Labels that moved, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from efface.errors import DataError
from efface.metrics.base import Observations
from efface.metrics.intervals import proportion
from efface.metrics.label_agreement import label_agreement, labels_seen
from efface.metrics.retained_accuracy import RETAINED_ACCURACY
from tests.metrics.ends import ends, measure
from tests.metrics.samples import classified


def seen(asked: list[int], labels: list[int], classes: int = 4) -> Observations:
    return classified(asked, labels, classes=classes)


BEFORE = seen([1, 2, 3, 1, 2, 3], [1, 2, 3, 1, 2, 1])
AFTER = seen([1, 2, 3, 1, 2, 3], [1, 1, 3, 1, 1, 1])
FORGOTTEN_BEFORE, FORGOTTEN_AFTER = seen([0, 0, 0], [0, 0, 0]), seen([0, 0, 0], [3, 0, 2])


def test_agreement_counts_samples_seen_alike_right_or_wrong():
    metric = label_agreement(BEFORE)
    assert ends(measure(metric, AFTER, [0], None)) == ends(proportion(4, 6))
    assert ends(measure(RETAINED_ACCURACY, AFTER, [0], None)) == ends(proportion(3, 6))
    assert measure(metric, BEFORE, [0], None).value == 1


def test_other_requests_are_refused():
    metric = label_agreement(BEFORE)
    for asked in ([1, 2, 3, 1, 2, 2], [1, 2, 3]):
        with pytest.raises(DataError, match="only where the same was asked for"):
            measure(metric, seen(asked, asked), [0], None)


def test_the_matrix_has_the_shares_of_each_label_asked_for():
    matrix = labels_seen(
        {"result": [FORGOTTEN_AFTER, AFTER], "baseline": [FORGOTTEN_BEFORE, BEFORE]}, "as drawn"
    )
    assert (matrix.labels, matrix.seen, matrix.samples) == (
        [0, 1, 2, 3],
        [0, 1, 2, 3],
        [3, 2, 2, 2],
    )
    third = 1 / 3
    assert matrix.shares == {
        "result": [[third, 0, third, third], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0.5, 0, 0.5]],
        "baseline": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0.5, 0, 0.5]],
    }
    assert matrix.protocol == "as drawn"


def test_rows_of_the_matrix_sum_to_one_and_its_diagonal_to_the_retained_accuracy():
    rng = np.random.default_rng(0)
    asked = (np.arange(400) % 5 + 1).tolist()
    drawn = seen(asked, rng.integers(0, 6, 400).tolist(), classes=6)
    matrix = labels_seen({"result": [drawn], "baseline": [drawn]}, "")
    shares = np.array(matrix.shares["result"])
    np.testing.assert_allclose(shares.sum(1), 1)
    diagonal = [shares[row, label] for row, label in enumerate(matrix.labels)]
    accuracy = measure(RETAINED_ACCURACY, drawn, [0], None).value
    assert np.average(diagonal, weights=matrix.samples) == pytest.approx(accuracy)


def test_models_that_were_asked_for_other_labels_do_not_share_a_matrix():
    with pytest.raises(DataError, match="not the same labels were asked of baseline"):
        labels_seen({"result": [AFTER], "baseline": [seen([1, 1, 2], [1, 1, 2])]}, "")
