"""Shares above a threshold against counting, and what a curve must be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from efface.errors import DataError
from efface.metrics.base import Observations
from efface.metrics.intervals import proportion
from efface.metrics.threshold_curve import (
    THRESHOLDS,
    distance_curve,
    forgotten_scores,
    similarity_curve,
    threshold_curve,
)


def test_scores_add_all_forgotten_labels():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    observed = Observations(
        asked=np.zeros(2), probabilities=probabilities, features=np.zeros((2, 1))
    )
    assert forgotten_scores(observed, [0]).tolist() == [0.5, 0]
    assert forgotten_scores(observed, [0, 2]).tolist() == [0.75, 1]


def test_every_point_is_the_share_above_its_threshold_with_its_interval():
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


def test_the_curve_of_copies_counts_samples_within_each_distance():
    nearest = np.random.default_rng(2).uniform(0, 3, 80)
    curve = distance_curve({"result": nearest, "baseline": nearest + 1}, 0.75, "drawn once")
    points = curve.lines["result"]
    assert points[0].x == 0 and points[-1].x == 1.5 and len(points) == 101
    assert points[50].x == pytest.approx(0.75)  # a copy: strictly within
    for point in points:
        assert point.value == np.mean(nearest < point.x)
    assert all(a.value <= b.value for a, b in itertools.pairwise(points))


def test_the_curve_of_similarity_counts_samples_above_each_cosine():
    cosines = np.array([-0.4, 0.1, 0.5, 0.995])
    curve = similarity_curve({"result": cosines}, 0.8, "drawn once")
    shares = {round(p.x, 2): p.value for p in curve.lines["result"]}
    assert (shares[0.0], shares[0.3], shares[0.8], shares[0.99]) == (0.75, 0.5, 0.25, 0.25)
    assert "0.800 or more" in curve.protocol
