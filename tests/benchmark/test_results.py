"""Rows are means over runs, and the front holds what no other beats."""

from __future__ import annotations

from typing import Any

import pytest

from efface.benchmark.file import read_file
from efface.benchmark.results import (
    ALL,
    BenchRun,
    Relearned,
    key,
    make_rows,
    mean_value,
    merit,
    primary,
    read_bench_run,
)
from efface.benchmark.rows import plan_jobs
from efface.metrics.class_rate import CLASS_RATE
from efface.metrics.fd import FD
from efface.records import Result, Spec, Value
from tests.benchmark.conftest import Made


def result(spec: Spec, value: float, label: str | None = None) -> Result:
    spec = spec if label is None else spec.model_copy(update={"label": label})
    return Result(
        spec=spec, value=value, low=value, high=value, samples=10, seeds=[0, 9], protocol="",
        baseline=Value(value=1.0, low=1.0, high=1.0),
        difference=Value(value=value - 1, low=value - 1, high=value - 1),
        extractor={"name": "eye", "sha256": "0"},
    )  # fmt: skip


def run(row: str, gone: float, fd: float, seed: int = 0, **changed: Any) -> BenchRun:
    given: dict[str, Any] = {
        "row": row, "method": row, "request": "label 2", "asked": {}, "seed": seed,
        "value": None, "selection": False, "folder": row, "settings": {}, "status": "finished",
        "forwards": 10, "steps": 2, "seconds": 1.0, "memory": 5,
        "results": [result(CLASS_RATE.spec, gone), result(FD.spec, fd, f"FD ({seed})")],
    }  # fmt: skip
    return BenchRun(**(given | changed))


def test_a_row_is_the_mean_over_its_runs_with_an_interval_by_student() -> None:
    (row,) = make_rows([run("a", 0.1, 2.0, 0), run("a", 0.2, 3.0, 1), run("a", 0.3, 4.0, 2)])
    figure = row.get("class_rate (eye)")
    assert figure is not None and figure.runs == 3
    assert figure.value.value == pytest.approx(0.2)
    assert figure.difference.value == pytest.approx(-0.8)
    half = 4.302653 * 0.1 / 3**0.5  # t(0.975, 2) times the standard error
    distance = row.get("fd (eye)")
    assert distance is not None and distance.spec.label == "FD"
    assert distance.value.high == pytest.approx(3 + 10 * half, rel=1e-4)
    assert figure.value.low == 0.0 and figure.value.high == pytest.approx(0.2 + half, rel=1e-4)
    assert (row.runs, row.trained, row.failed) == (3, True, [])
    assert row.forwards is not None and row.forwards.value == 10


def test_every_request_has_figures_of_its_own_too() -> None:
    runs = [run("a", 0.0, 1.0), run("a", 0.4, 3.0, request="label 3")]
    (row,) = make_rows(runs)
    values = {f.request: f.value.value for f in row.figures if f.spec.name == "fd"}
    assert values == {ALL: 2.0, "label 2": 1.0, "label 3": 3.0}


def test_the_front_holds_methods_that_no_other_beats() -> None:
    runs = [
        run("untouched", 1.0, 0.0, forwards=None),
        run("a", 0.1, 2.0),
        run("b", 0.2, 1.0),
        run("c", 0.2, 2.0),
        run("d", 0.0, 0.5, selection=True),
    ]
    front = {row.name: row.front for row in make_rows(runs)}
    assert front == {"untouched": False, "a": True, "b": True, "c": False}


def test_runs_that_failed_are_named_and_no_part_of_a_mean() -> None:
    lost = run("a", 0.9, 9.0, 1, status="failed", reason="lost", results=[])
    (row,) = make_rows([run("a", 0.1, 2.0), lost])
    assert (row.runs, row.failed) == (1, ["lost"])
    (row,) = make_rows([lost])
    assert (row.runs, row.figures, row.front) == (0, [], False)


def test_what_did_not_come_back_counts_as_more_than_anything() -> None:
    halves = [Relearned(half=3.0, retrained=4.0), Relearned(half=None, retrained=6.0)]
    runs = [run("a", 0, 1, n, relearned=own) for n, own in enumerate(halves)]
    (row,) = make_rows(runs)
    assert row.relearned == Relearned(half=None, retrained=6.0)


def test_one_value_keeps_its_own_interval() -> None:
    value = Value(value=1.0, low=0.0, high=3.0)
    assert mean_value([value]) == value


def test_a_figure_best_at_0_has_most_merit_there() -> None:
    (row,) = make_rows([run("a", 0.1, 2.0)])
    gone, fd = primary(row)
    assert (gone.spec.name, merit(gone), merit(fd)) == ("class_rate", -0.1, -2.0)
    gap = gone.model_copy(update={"spec": gone.spec.model_copy(update={"better": "zero"})})
    assert merit(gap) == -0.1
    assert key(run("a", 0, 1).results[1]) == "fd (eye)"


def test_a_run_is_read_with_its_figures(whole: Made) -> None:
    job = plan_jobs(read_file(whole.file))[2]
    found = read_bench_run(job, whole.out / "runs", None)
    assert found.status == "finished" and found.steps == 2 and (found.forwards or 0) > 0
    assert "class_rate (digits-teacher judge)" in found.excess
    assert found.answers["resist"] == "not_measured"
    assert read_bench_run(job, whole.out / "runs", "lost").reason == "lost"
    assert read_bench_run(job, whole.out, None).status == "failed"
