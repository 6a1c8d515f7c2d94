"""The page: self-contained, safe against what it is given, the same every time."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.errors import DataError, RequestError
from efface.records import Evaluation, write_json
from efface.reporting import write_report
from efface.reporting.page import MOST_LABELS, choose_labels
from tests.reporting.conftest import RunMaker, make_evaluation, make_record, make_result
from tests.reporting.full_runs import (
    make_curve,
    make_full_evaluation,
    make_matrix,
    write_class_run,
)
from tests.reporting.pages import HOSTILE, Page, assert_safe


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Page]:
    return lambda *runs: Page(write_report(runs, tmp_path / "report.html"))


def test_a_page_holds_everything_and_loads_nothing(make_run: RunMaker, report):
    run = make_run()
    page = report(run)
    assert_safe(page)
    text = (run.parent / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(https?:)?//[\w.-]+\.\w", text)
    assert "@import" not in text and "url(" not in text
    assert [len(page.all(tag)) for tag in ("h1", "img", "table")] == [1, 2, 1]
    for said in ("Class 4 is forgotten", "What is not claimed", "No attack was run", "98.3", "360"):
        assert said in page.text
    assert "9f" * 32 in page.text and "4c" * 32 in page.text


def test_the_slider_is_a_labelled_range(make_run: RunMaker, report):
    page = report(make_run())
    assert [attributes["type"] for attributes in page.all("input")] == ["range", "checkbox"]
    assert "Slide to compare" in page.text


def test_whiskers_and_charts_are_images_with_words(make_run: RunMaker, report):
    evaluation = make_evaluation()
    evaluation.curves = [make_curve()]
    page = report(make_run(evaluation=evaluation))
    whiskers = [a for a in page.all("div") if a.get("class") == "whiskers"]
    charts = [a for a in page.all("svg") if a.get("class") == "chart"]
    assert len(whiskers) == 3 and len(charts) == 1
    for attributes in whiskers + charts:
        assert attributes["role"] == "img"
        assert re.search(r"\d", attributes["aria-label"] or "")
    assert "this model 1.0\u00a0% (0.2 to 3.0" in (whiskers[0]["aria-label"] or "")


def test_headings_do_not_skip_a_level(make_run: RunMaker, report):
    page = report(make_run("a"), make_run("b"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_text_comes_out_as_text(make_run: RunMaker, report, evil: str):
    record = make_record(
        model={"source": evil, "classes": 10, evil: evil, "weights": {evil: evil}},
        settings={"method": {"name": evil, evil: evil}, "train": {evil: [evil]}},
        sampler={"text": evil, "passes": 1},
        versions={"efface": evil, evil: evil},
        hardware={"gpus": [evil]},
        started=evil,
        status="collapsed",
        note=evil,
    )
    evaluation = make_evaluation()
    evil_result = make_result(evil, (0.5, 0.4, 0.6), (0.5, 0.4, 0.6), spec={"unit": evil})
    evil_result.protocol = evil
    evaluation.results.append(evil_result)
    run = make_run(record=record, evaluation=evaluation, names=[evil] * 10)
    for page in (report(run), report(run, run)):
        assert_safe(page)
        assert evil.replace("`", "") in page.text.replace("`", "")


def test_a_name_that_utf_8_cannot_write_does_not_stop_the_report(make_run: RunMaker, report):
    assert_safe(report(make_run(os.fsdecode(b"run-\xff"))))


def test_several_runs_are_compared_first(make_run: RunMaker, report):
    damaged = make_evaluation(retained=(0.7, 0.67, 0.73))
    page = report(make_run("good"), make_run("bad", evaluation=damaged))
    assert_safe(page)
    links = [a["href"] for a in page.all("a")]
    assert links[:2] == ["#run-1", "#run-2"]
    assert [a["id"] for a in page.all("article")] == ["run-1", "run-2"]
    assert page.headline == "Two runs"
    told = [text for text in page.text.split("Two runs")[1].splitlines() if "Class 4 is" in text]
    assert "preserved" in told[0] and "damaged" in told[1]
    assert page.text.index("damaged") < page.text.index("On the model")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("missing", ["before.png", "after.png", "grid.json"])
def test_missing_sheets_leave_the_section_out(make_run: RunMaker, report, missing: str):
    run = make_run()
    (run / "samples" / missing).unlink()
    page = report(run)
    assert_safe(page)
    assert page.all("img") == [] and "Before and after" not in page.text


def test_an_unmeasured_run_has_a_page(make_run: RunMaker, report):
    for page in (report(make_run("a", evaluation=None)),
                 report(make_run("b", evaluation=Evaluation(results=[])))):  # fmt: skip
        assert_safe(page)
        assert page.all("table") == []
        assert "Not measured" in page.text and "not evidence" in page.text


def test_a_bare_record_is_enough(make_run: RunMaker, report):
    record = make_record(
        status="running", request={"kind": "train"}, model={"source": None}, settings={},
        sampler={}, versions={}, hardware={}, finished=None, seconds=None, steps=None,
        images_per_second=None, output={}, guard=[],
    )  # fmt: skip
    run = make_run(record=record, evaluation=None)
    assert_safe(report(run))


def test_the_same_input_gives_the_same_bytes(make_run: RunMaker, tmp_path: Path):
    run = make_run()
    first = write_report([run], tmp_path / "a.html").read_bytes()
    assert write_report([run], tmp_path / "deep" / "b.html").read_bytes() == first


def test_a_failed_report_leaves_the_old_one(make_run: RunMaker, tmp_path: Path):
    run, out = make_run(), tmp_path / "report.html"
    write_report([run], out)
    before = out.read_bytes()
    (run / "record.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError):
        write_report([run], out)
    assert out.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_a_page_that_cannot_be_written_says_so(make_run: RunMaker, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    run = make_run()
    for out in (tmp_path / "folder", tmp_path / "file" / "page.html"):
        with pytest.raises(RequestError, match="cannot be written"):
            write_report([run], out)
    assert not list(tmp_path.glob("*.part"))
    assert (tmp_path / "file").read_text() == "mine"


def test_no_run_and_no_record_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no run was given"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(DataError, match="missing"):
        write_report([tmp_path], tmp_path / "report.html")


def test_reporting_imports_no_torch():
    code = "import sys, efface.reporting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_original_model_and_this_one_stand_side_by_side(tmp_path: Path):
    run = write_class_run(tmp_path / "run")
    page = write_report([run], tmp_path / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"<caption><b>(.*?)</b>", page)
    assert captions[:2] == ["Original model", "This model"]
    assert choose_labels(make_matrix(), [4]) == (list(range(10)), list(range(10)))


def test_many_labels_leave_room_for_the_forgotten_ones():
    rows, columns = choose_labels(make_matrix(200, forgotten=150, instead=7), [150])
    assert len(rows) == len(columns) == MOST_LABELS
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
