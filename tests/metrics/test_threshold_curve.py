"""Shares above a threshold against counting, and what a curve must be."""

from __future__ import annotations

import numpy as np
import pytest

from efface.errors import DataError
from efface.metrics.base import Observations
from efface.metrics.intervals import proportion
from efface.metrics.threshold_curve import THRESHOLDS, forgotten_scores, threshold_curve


def test_scores_add_all_forgotten_labels():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    observed = Observations(
        asked=np.zeros(2), probabilities=probabilities, features=np.zeros((2, 1))
    )
    assert forgotten_scores(observed, [0]).tolist() == [0.5, 0]
    assert forgotten_scores(observed, [0, 2]).tolist() == [0.75, 1]


def test_every_point_is_the_share_above_its_threshold_with_wilsons_interval():
    scores = np.random.default_rng(0).beta(0.4, 0.4, 150)
    curve = threshold_curve({"result": scores}, "the judge", "drawn once")
    assert [p.x for p in curve.lines["result"]] == THRESHOLDS.tolist()
    for point in curve.lines["result"]:
        expected = proportion(sum(float(s) > point.x for s in scores), 150)
        assert (point.value, point.low, point.high) == (expected.value, expected.low, expected.high)


def test_lines_fall_and_keep_models_apart():
    rng = np.random.default_rng(1)
    curve = threshold_curve({"result": rng.random(90) ** 4, "baseline": rng.random(80)}, "x", "")
    lines = {name: np.array([p.value for p in line]) for name, line in curve.lines.items()}
    assert all((np.diff(values) <= 0).all() for values in lines.values())
    assert (lines["result"][1:90] < lines["baseline"][1:90]).all()


def test_a_score_at_the_threshold_is_not_above_it():
    line = threshold_curve({"result": np.array([0.5, 0.0, 1.0])}, "x", "").lines["result"]
    at = {round(p.x, 2): p.value for p in line}
    assert at[0.0] == pytest.approx(2 / 3)
    assert at[0.49] == pytest.approx(2 / 3)
    assert at[0.5] == at[0.99] == pytest.approx(1 / 3)


@pytest.mark.parametrize("scores", [[], [0.5, 1.2], [-0.1], [float("nan")]])
def test_what_is_no_score_is_refused(scores):
    with pytest.raises(DataError, match=r"scores of result are missing or outside of \[0, 1\]"):
        threshold_curve({"result": np.array(scores, dtype=float)}, "x", "")
