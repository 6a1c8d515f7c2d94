"""Which labels a classifier saw, before and after: laid out, marked and bounded."""

from __future__ import annotations

import math
import re
from pathlib import Path

from efface.records import write_json
from efface.reporting import write_report
from efface.reporting.label_matrix import LARGEST, label_figure
from tests.reporting.full_runs import make_full_evaluation, make_matrix, write_class_run


def test_the_original_model_and_this_one_stand_side_by_side():
    figure = label_figure(make_matrix(), [4])
    assert figure is not None
    assert figure.models == ["baseline", "result"]
    assert figure.rows == figure.columns == list(range(10))
    assert label_figure(None, [4]) is None


def test_many_labels_leave_room_for_the_forgotten_ones():
    figure = label_figure(make_matrix(200, forgotten=150, instead=7), [150])
    assert figure is not None
    assert len(figure.rows) == len(figure.columns) == LARGEST
    assert 150 in figure.rows and {150, 7} <= set(figure.columns)


def test_shares_that_are_no_numbers_have_no_shade(tmp_path: Path):
    run = write_class_run(tmp_path / "run")
    evaluation = make_full_evaluation()
    assert evaluation.labels_seen is not None
    grid = evaluation.labels_seen.shares["result"]
    grid[0][0], grid[0][1] = math.nan, math.inf
    write_json(run / "evaluation.json", evaluation)
    page = write_report([run], tmp_path / "report.html").read_text(encoding="utf-8")
    after = page[page.index("<caption><b>This model</b>") :]
    assert re.findall(r"--share: (.*?)\"", after)[:2] == ["0.0", "0.0"]
    assert 'title="samples of 0, classified as 0: –"></td>' in after
    assert "classified as 9: 96.0\N{NO-BREAK SPACE}%" in after
