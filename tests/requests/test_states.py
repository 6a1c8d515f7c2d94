"""How a figure is judged beside the original model's, by both intervals."""

from __future__ import annotations

import math

import pytest

from efface.records import Evaluation
from efface.requests.states import (
    Kept,
    find_measured,
    has_halved,
    judge_fid,
    judge_score,
    judge_together,
)
from tests.reporting.conftest import Triple, make_result

BEFORE: Triple = (0.8, 0.77, 0.83)


@pytest.mark.parametrize(
    "own, state",
    [
        ((0.8, 0.78, 0.82), "kept"),
        ((0.75, 0.69, 0.81), "inconclusive"),
        ((0.6, 0.5, 0.7), "damaged"),
    ],
)
def test_a_score_is_damaged_where_its_whole_interval_lies_below(own: Triple, state: Kept):
    assert judge_score(make_result("precision", own, BEFORE)) == state
    assert judge_score(None) == "unmeasured"


@pytest.mark.parametrize(
    "own, state",
    [
        ((6.0, 5.5, 6.5), "kept"),
        ((8.0, 7.0, 9.0), "inconclusive"),
        ((9.0, 8.0, 10.0), "damaged"),
    ],
)
def test_a_distance_may_grow_by_a_fifth(own: Triple, state: Kept):
    assert judge_fid(make_result("fid", own, (5.9, 5.4, 6.4))) == state
    assert judge_fid(None) == "unmeasured"


def test_half_is_read_off_both_intervals():
    assert has_halved(None, make_result("recall", (0.3, 0.25, 0.38), BEFORE))
    assert not has_halved(make_result("recall", (0.3, 0.25, 0.4), BEFORE))


def test_the_worst_of_several_figures_counts():
    assert judge_together("kept", "unmeasured", "damaged") == "damaged"
    assert judge_together("kept", "inconclusive") == "inconclusive"
    assert judge_together("unmeasured", "unmeasured") == "unmeasured"
    narrower = make_result("recall", (0.6, 0.55, 0.65), BEFORE)
    assert judge_together("kept", recall=narrower) == "less_varied"
    assert judge_together("damaged", recall=narrower) == "damaged"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_a_number_was_not_measured(bad: float):
    good = make_result("fid", BEFORE, BEFORE)
    assert find_measured(Evaluation(results=[good]), "fid") == good
    spoiled = make_result("fid", BEFORE, (0.8, bad, 0.83))
    assert find_measured(Evaluation(results=[spoiled]), "fid") is None
