"""A figure of every model becomes a row: paired where it can be, and with its protocol."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from efface.evaluation.protocol import make_result, view_result
from efface.metrics.differences import independent_difference
from efface.metrics.fd import FD, frechet_distance
from efface.metrics.intervals import Estimate, bounded_mean, difference, proportion
from efface.metrics.retained_accuracy import RETAINED_ACCURACY
from efface.records import Value
from tests.evaluation.judges import judge_view
from tests.metrics.samples import classified

SPEC = RETAINED_ACCURACY.spec
SEEDS = range(40, 60)


def ends_of(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def test_figures_of_the_same_seeds_are_paired():
    a, b = (bounded_mean(np.arange(20) % step == 0) for step in (2, 4))
    row = make_result(SPEC, {"result": a, "baseline": b}, SEEDS, protocol="")
    paired = difference(a, b)
    assert paired is not None and row.difference is not None
    assert row.difference.model_dump() == pytest.approx(ends_of(paired))
    assert (row.value, row.low, row.high) == (a.value, a.low, a.high)
    assert row.baseline.model_dump() == ends_of(b)
    assert (row.samples, row.seeds) == (20, [40, 59])


def test_others_differ_by_their_intervals_alone():
    a, b = proportion(5, 20), proportion(9, 10)
    row = make_result(SPEC, {"result": a, "baseline": b}, SEEDS, protocol="", samples=5)
    values = [Value(**ends_of(one)) for one in (a, b)]
    assert row.difference == independent_difference(*values)
    assert row.samples == 5


def test_models_that_were_not_measured_have_no_figure():
    values = {"result": proportion(1, 9), "baseline": proportion(9, 9)}
    more = {"retrained": proportion(2, 9), "distilled": proportion(8, 9)}
    row = make_result(SPEC, values, SEEDS, protocol="", unseen=proportion(3, 9))
    assert row.retrained is row.distilled is row.baseline_one_step is None
    assert row.unseen is not None and row.unseen.value == 3 / 9
    row = make_result(SPEC, values | more, SEEDS, protocol="")
    assert row.unseen is None and row.retrained is not None and row.distilled is not None
    assert (row.retrained.value, row.distilled.value) == (2 / 9, 8 / 9)


def test_a_view_measures_every_model_and_says_with_what():
    view = judge_view()
    seen = {
        "result": classified([1, 2, 1, 2], [1, 2, 0, 2]),
        "baseline": classified([1, 2, 1, 2], [1, 2, 1, 2]),
    }
    row = view_result(view, RETAINED_ACCURACY, seen, [0], range(4), "sampled so")
    assert (row.value, row.baseline.value, row.samples) == (0.75, 1.0, 4)
    assert row.protocol == "sampled so; judge: tiny judge"
    assert row.extractor == view.extractor


@pytest.mark.parametrize(
    ("forgotten", "rows", "kind"),
    [((0,), [1, 2, 4, 5], "of the retained labels"), ((), range(6), "of training")],
)
def test_distances_are_to_the_real_images_that_are_retained(forgotten, rows, kind):
    view, rng = judge_view(), np.random.default_rng(1)
    seen = {
        name: replace(classified([1, 2] * 4, [1, 2] * 4), features=rng.normal(size=(8, 2)))
        for name in ("result", "baseline")
    }
    row = view_result(view, FD, seen, forgotten, range(8), "sampled so")
    real = view.judge.reference[list(rows)]
    assert row.value == frechet_distance(seen["result"].features, real, seen["result"].asked).value
    assert row.protocol.endswith(f", features against {len(real)} real images {kind}")
