"""Forget against retain: which entries no other beats, and where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.records import Spec, Value
from efface.reporting.charts import Axis
from efface.reporting.pareto import axis_of, front_of, pareto_figures, span_of
from tests.reporting.conftest import RunMaker, make_record
from tests.reporting.full_runs import compare_folders, measured
from tests.reporting.image_runs import make_image_evaluation, make_image_record, write_image_run
from tests.reporting.pages import dots, elements, places, texts


def test_the_front_holds_what_no_other_beats(make_run: RunMaker):
    at = {"a": (0.99, 0.9), "b": (0.9, 0.95), "c": (0.89, 0.94), "d": (0.99, 0.85)}
    folders = [
        make_run(name, make_record(settings={"method": {"name": name}}), measured(*place))
        for name, place in at.items()
    ]
    (base,) = compare_folders(*folders)
    (figure,) = pareto_figures(base)
    assert {dot.entry.name: dot.best for dot in figure.dots} == {
        "a": True, "b": True, "c": False, "d": False,
    }  # fmt: skip
    (front,) = elements(figure.svg, "path", "stroke: var(--result)", "stroke-dasharray")
    a, b, c, d = dots(figure.svg, "result")
    assert sorted(places(front)) == [pytest.approx(b, abs=0.01), pytest.approx(a, abs=0.01)]
    assert len(elements(figure.svg, "path", "fill: var(--result)")) == 2


def test_points_are_numbered_and_carry_no_name_that_a_stranger_gave(tmp_path: Path):
    folders = [
        write_image_run(
            tmp_path / f"{n} <b>",
            make_image_record(note=str(n), settings={"method": {"name": f"{n}"}}),
            make_image_evaluation(None, ((0.8, 0.7, 0.9), (gap, gap, gap))),
        )
        for n, gap in enumerate((0.1, 0.6))
    ]
    (figure,) = pareto_figures(compare_folders(*folders)[0])
    assert {"1", "2", "original"} <= {*texts(figure.svg)} and "<b>" not in figure.svg


def test_better_lies_to_the_right_and_above_whatever_the_metric(tmp_path: Path):
    folders = []
    for name, gap, fd in (("good", 0.05, 5.0), ("bad", 0.6, 9.0)):
        evaluation = make_image_evaluation(
            None, ((0.8, 0.7, 0.9), (gap, gap - 0.01, gap + 0.01)), (fd, fd - 0.1, fd + 0.1)
        )
        folders.append(write_image_run(tmp_path / name, evaluation=evaluation))
    (base,) = compare_folders(*folders)
    (figure,) = pareto_figures(base)
    assert (figure.forget.key.spec.name, figure.retain.key.spec.name) == ("membership_gap", "fd")
    good, bad = dots(figure.svg, "result")
    assert good[0] > bad[0] and good[1] < bad[1]
    assert [dot.best for dot in figure.dots] == [True, False]


def test_a_gap_pushed_beyond_never_seen_is_no_better_than_one_left(tmp_path: Path):
    folders = [
        write_image_run(
            tmp_path / str(n),
            evaluation=make_image_evaluation(None, ((0.8, 0.7, 0.9), (gap, gap - 0.1, gap + 0.1))),
        )
        for n, gap in enumerate((-0.6, 0.6))
    ]
    (figure,) = pareto_figures(compare_folders(*folders)[0])
    assert [dot.forget[0] for dot in figure.dots] == [0.6, 0.6]
    assert [d.forget[1:] for d in figure.dots] == [
        pytest.approx((0.5, 0.7)), pytest.approx((0.5, 0.7)),
    ]  # fmt: skip


def test_numbers_of_points_do_not_cover_each_other(make_run: RunMaker):
    folders = [
        make_run(str(n), make_record(settings={"method": {"name": str(n)}}), measured(0.99, 0.9))
        for n in range(6)
    ]
    (figure,) = pareto_figures(compare_folders(*folders)[0])
    numbers = [texts(figure.svg)[str(n)] for n in range(1, 7)]
    assert all(
        abs(a[0] - b[0]) >= 12 or abs(a[1] - b[1]) >= 12
        for n, a in enumerate(numbers) for b in numbers[:n]
    )  # fmt: skip


def test_what_is_best_at_0_is_drawn_by_its_distance_from_it():
    gap = Spec(name="gap", label="Gap", meaning="", unit="", side="retain", better="zero")
    spans = [span_of(Value(value=v, low=v - 1, high=v + 1), gap) for v in (-3.0, 0.5, 2.0)]
    assert spans == [(3, 2, 4), (0.5, 0, 1.5), (2, 1, 3)]
    axis = axis_of(gap, "Gap")
    assert axis.label == "Gap (less is better)" and axis.less_is_better
    assert span_of(Value(value=-3, low=-4, high=-2), gap.model_copy(update={"better": "less"})) == (
        -3, -4, -2,
    )  # fmt: skip


def test_points_that_are_alike_share_the_front():
    best, worse = ((2.0, 1.0, 3.0), (2.0, 2.0, 2.0)), ((2.0, 0.0, 3.0), (1.0, 1.0, 1.0))
    assert front_of([best, worse, best], Axis("x"), Axis("y")) == [best, best]
    less = Axis("x", less_is_better=True)
    assert front_of([best, worse], less, less) == [worse]
