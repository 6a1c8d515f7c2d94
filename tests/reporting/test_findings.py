"""What figures say by themselves: the whole interval against the margin."""

from __future__ import annotations

import math

import pytest

from efface.records import Evaluation, Result
from efface.reporting.findings import (
    find_forgotten,
    find_retained,
    is_finite,
    is_unchanged,
    margin_of,
    was_there,
)
from tests.reporting.conftest import Triple, make_evaluation, make_result, make_value
from tests.reporting.image_runs import make_image_evaluation
from tests.specs import SPECS

BEFORE: Triple = (0.8, 0.77, 0.83)


def about(middle: float, reach: float) -> Triple:
    return middle, middle - reach, middle + reach


@pytest.mark.parametrize(
    "rate, answer",
    [
        ((0.0, 0.0, 0.007), "yes"),
        ((0.04, 0.03, 0.06), "inconclusive"),
        ((0.5, 0.4, 0.6), "no"),
        ((0.99, 0.98, 1.0), "no"),
    ],
)
def test_gone_is_what_is_below_the_margin_by_its_whole_interval(rate: Triple, answer: str):
    assert find_forgotten(make_evaluation(rate)).answer == answer


def test_a_retrained_model_is_the_reference_for_never_seen():
    left = make_result("class_rate", about(0.12, 0.02), about(0.9, 0.02))
    assert find_forgotten(Evaluation(results=[left])).answer == "no"
    left.retrained = make_value(about(0.11, 0.02))
    assert find_forgotten(Evaluation(results=[left])).answer == "yes"
    unknown = make_image_evaluation(retrained=True)
    gap = unknown.get("membership_gap")
    assert gap is not None
    gap.retrained = make_value(about(-4.86, 0.3))
    found = find_forgotten(unknown)
    assert found.answer == "no" and found.decisive is not None
    assert found.decisive.result.metric == "membership_gap"


@pytest.mark.parametrize(
    "gap, answer",
    [
        (about(0.0, 0.04), "yes"),
        (about(0.02, 0.06), "inconclusive"),
        (about(0.1145, 0.0315), "no"),
        (about(-1.3, 0.2), "yes"),
    ],
)
def test_no_better_known_than_unseen_images_is_gone(gap: Triple, answer: str):
    measured = make_image_evaluation(gap=(about(0.82, 0.04), gap))
    assert find_forgotten(measured).answer == answer


@pytest.mark.parametrize("samples, answer", [(1024, "yes"), (64, "inconclusive")])
def test_few_samples_without_a_copy_are_not_enough(samples: int, answer: str):
    assert find_forgotten(make_image_evaluation((30, 0), samples=samples)).answer == answer


def test_what_the_original_model_does_not_show_was_not_there():
    assert was_there(find_forgotten(make_evaluation()))
    level = (about(0.0, 0.03), about(0.0, 0.03))
    assert not was_there(find_forgotten(make_image_evaluation((0, 0), level)))


@pytest.mark.parametrize(
    "figure, answer",
    [
        (make_result("retained_accuracy", about(0.8, 0.01), about(0.8, 0.01)), "yes"),
        (make_result("retained_accuracy", about(0.95, 0.03), about(0.8, 0.03)), "yes"),
        (make_result("retained_accuracy", about(0.79, 0.03), about(0.8, 0.03)), "inconclusive"),
        (make_result("retained_accuracy", about(0.7, 0.03), about(0.8, 0.03)), "no"),
        (make_result("fd", about(10.0, 0.2), about(11.8, 0.2)), "yes"),
        (make_result("fd", about(11.8, 0.2), about(10.0, 0.2)), "no"),
        (make_result("fd", about(10.5, 0.2), about(10.0, 0.2)), "yes"),
        (make_result("fd", about(10.8, 0.4), about(10.0, 0.4)), "inconclusive"),
        (make_result("recall", about(0.755, 0.02), about(0.914, 0.02)), "no"),
    ],
)
def test_damage_is_a_difference_beyond_the_margin(figure: Result, answer: str):
    assert find_retained(Evaluation(results=[figure])).answer == answer


def test_a_paired_difference_decides_where_it_was_measured():
    figure = make_result("retained_accuracy", about(0.79, 0.03), about(0.8, 0.03))
    figure.difference = make_value(about(-0.01, 0.005))
    assert find_retained(Evaluation(results=[figure])).answer == "yes"


def test_one_figure_is_enough_for_damage_and_is_named():
    found = find_retained(make_evaluation(recall=(0.7, 0.66, 0.74)))
    assert found.answer == "no" and found.decisive is not None
    assert found.decisive.result.metric == "recall"
    assert [f.result.metric for f in found.found] == ["retained_accuracy", "fd", "recall"]


def test_figures_for_context_decide_nothing():
    worse = make_result("kid", about(9.0, 0.1), about(1.0, 0.1))
    assert find_retained(Evaluation(results=[worse])).answer == "not_measured"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_a_number_was_not_measured(bad: float):
    spoiled = make_result("fd", BEFORE, (0.8, bad, 0.83))
    assert find_retained(Evaluation(results=[spoiled])).answer == "not_measured"
    good = make_result("fd", BEFORE, BEFORE)
    assert not is_finite(spoiled) and is_finite(good)


def test_a_broken_model_is_damaged():
    assert find_retained(Evaluation(results=[], broken=True)).answer == "no"


def test_samples_that_hardly_moved_are_unchanged():
    assert is_unchanged(Evaluation(results=[], change={"samples": 0.003}))
    assert not is_unchanged(Evaluation(results=[], change={"samples": 0.3}))
    assert not is_unchanged(Evaluation(results=[]))


def test_every_figure_that_decides_has_a_margin_and_a_direction():
    for spec in SPECS.values():
        assert (spec.role == "context") == (spec.margin is None), spec.name
        if spec.margin is not None:
            assert spec.better is not None and margin_of(spec, 2.0) > 0
            assert spec.side == "retain" or spec.better in ("less", "zero"), spec.name


def test_a_collapse_is_far_beyond_every_primary_margin():
    assert find_retained(make_evaluation(None, (0.1, 0.08, 0.12), (60.0, 58.0, 62.0))).collapsed
    assert not find_retained(make_evaluation(None, (0.1, 0.08, 0.12))).collapsed
    assert not find_retained(make_evaluation(None)).collapsed


def test_what_generates_the_same_has_forgotten_nothing():
    evaluation = make_evaluation((0.0, 0.0, 0.007))
    evaluation.change = {"samples": 0.0}
    assert find_forgotten(evaluation).answer == "no"


def test_being_unlike_the_original_model_is_no_damage() -> None:
    """Against its samples a distance grows whether the others are worse or better."""
    far = make_result("fd", about(1.5, 0.1), about(0.1, 0.02), spec={"likeness": True})
    found = find_retained(Evaluation(results=[far]))
    assert found.answer == "inconclusive"
    assert found.decisive is not None and found.decisive.is_unlike
    assert not found.collapsed
    near = make_result("fd", about(0.1, 0.001), about(0.1, 0.001), spec={"likeness": True})
    assert find_retained(Evaluation(results=[near])).answer == "yes"
    worse = make_result("retained_accuracy", about(0.7, 0.03), about(0.8, 0.03))
    assert find_retained(Evaluation(results=[far, worse])).answer == "no"
