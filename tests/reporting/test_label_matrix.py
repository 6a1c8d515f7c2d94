"""Which labels a classifier saw, before and after: laid out, marked and bounded."""

from __future__ import annotations

import math

import pytest

from efface.reporting.label_matrix import LARGEST, label_figure
from tests.reporting.full_runs import make_matrix


def test_a_label_that_is_generated_as_another_is_marked():
    figure = label_figure(make_matrix(), [4], {})
    assert figure is not None
    before, after = figure.grids
    assert (before.title, after.title) == ("Before", "After")
    changed = {
        (r, c): cell.change
        for r, row in enumerate(after.rows)
        for c, cell in enumerate(row)
        if cell.change
    }
    assert changed == {(4, 4): -1, (4, 9): 1}
    assert not any(cell.change for row in before.rows for cell in row)
    assert figure.forgotten == {4} and figure.samples == "100 to 500"
    assert "samples of 4, classified as 9: 96.0" in after.rows[4][9].described


def test_what_chance_explains_is_not_marked():
    matrix = make_matrix()
    matrix.shares["result"] = [list(row) for row in matrix.shares["baseline"]]
    row = matrix.shares["result"][1]
    row[1], row[2] = row[1] - 0.04, row[2] + 0.04  # 4 of 100: 1.3 standard errors
    figure = label_figure(matrix, [4], {})
    assert figure is not None
    assert not any(cell.change for row in figure.grids[1].rows for cell in row)


def test_many_labels_leave_room_for_the_forgotten_ones():
    figure = label_figure(make_matrix(200, forgotten=150, instead=7), [150], {150: "cat"})
    assert figure is not None
    assert len(figure.rows) == len(figure.columns) == LARGEST
    assert "cat" in figure.rows and {"cat", "7"} <= set(figure.columns)
    assert figure.left_out == 200 - LARGEST


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
    assert label_figure(matrix, [4], {}) is None
    assert label_figure(None, [4], {}) is None


def test_shares_that_are_no_numbers_have_no_shade():
    matrix = make_matrix()
    matrix.shares["result"][0][0] = math.nan
    figure = label_figure(matrix, [4], {})
    assert figure is not None
    cell = figure.grids[1].rows[0][0]
    assert (cell.text, cell.shade, cell.change) == ("", 0.0, 0)
