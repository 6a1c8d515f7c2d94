"""Which labels a classifier saw, before and after: laid out, marked and bounded."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest

from efface.records import write_json
from efface.reporting import write_report
from efface.reporting.label_matrix import LARGEST, LabelFigure, label_figure
from tests.reporting.full_runs import make_full_evaluation, make_matrix, write_class_run


def changes(figure: LabelFigure) -> dict[tuple[str, int, int], int]:
    """Those beyond chance, by model, row and column."""
    places = itertools.product(figure.models, figure.rows, figure.columns)
    return {place: change for place in places if (change := figure.change(*place))}


def test_a_label_that_is_generated_as_another_is_marked():
    figure = label_figure(make_matrix(), [4])
    assert figure is not None
    assert figure.models == ["baseline", "result"]
    assert changes(figure) == {("result", 4, 4): -1, ("result", 4, 9): 1}
    assert figure.samples == [100, 500]


def test_what_chance_explains_is_not_marked():
    matrix = make_matrix()
    matrix.shares["result"] = [list(row) for row in matrix.shares["baseline"]]
    row = matrix.shares["result"][1]
    row[1], row[2] = row[1] - 0.04, row[2] + 0.04  # 4 of 100: 1.3 standard errors
    figure = label_figure(matrix, [4])
    assert figure is not None and changes(figure) == {}


def test_many_labels_leave_room_for_the_forgotten_ones():
    figure = label_figure(make_matrix(200, forgotten=150, instead=7), [150])
    assert figure is not None
    assert len(figure.rows) == len(figure.columns) == LARGEST
    assert 150 in figure.rows and {150, 7} <= set(figure.columns)


@pytest.mark.parametrize("broken", ["rows", "columns", "samples", "models"])
def test_a_matrix_of_another_shape_is_left_out(broken: str):
    matrix = make_matrix()
    if broken == "rows":
        matrix.shares["result"].pop()
    elif broken == "columns":
        matrix.shares["result"][3].pop()
    elif broken == "samples":
        matrix.samples.pop()
    else:
        matrix.shares = {}
    assert label_figure(matrix, [4]) is None
    assert label_figure(None, [4]) is None


def test_shares_that_are_no_numbers_have_no_shade(tmp_path: Path):
    run = write_class_run(tmp_path / "run")
    evaluation = make_full_evaluation()
    assert evaluation.labels_seen is not None
    grid = evaluation.labels_seen.shares["result"]
    grid[0][0], grid[0][1] = math.nan, math.inf
    write_json(run / "evaluation.json", evaluation)
    page = write_report([run], tmp_path / "report.html").read_text(encoding="utf-8")
    after = page[page.index("<caption><b>After</b>") :]
    assert re.findall(r"--share: (.*?)\"", after)[:2] == ["0.0", "0.0"]
    assert 'title="samples of 0, classified as 0: –"></td>' in after
    assert "classified as 9: 96.0\N{NO-BREAK SPACE}%, before 0.4\N{NO-BREAK SPACE}%" in after
