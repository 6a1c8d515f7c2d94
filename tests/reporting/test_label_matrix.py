"""Which labels a classifier saw, before and after: laid out, marked and bounded."""

from __future__ import annotations

import math
import re
from pathlib import Path

from efface.records import write_json
from efface.reporting import write_report
from efface.reporting.label_matrix import LARGEST, choose_labels
from tests.reporting.full_runs import make_full_evaluation, make_matrix, write_class_run


def test_the_original_model_and_this_one_stand_side_by_side(tmp_path: Path):
    run = write_class_run(tmp_path / "run")
    page = write_report([run], tmp_path / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"<caption><b>(.*?)</b>", page)
    assert captions[:2] == ["Original model", "This model"]
    assert choose_labels(make_matrix(), [4]) == (list(range(10)), list(range(10)))


def test_many_labels_leave_room_for_the_forgotten_ones():
    rows, columns = choose_labels(make_matrix(200, forgotten=150, instead=7), [150])
    assert len(rows) == len(columns) == LARGEST
    assert 150 in rows and {150, 7} <= set(columns)


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
