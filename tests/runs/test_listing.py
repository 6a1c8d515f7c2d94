"""Runs in a folder: each is listed once, with how it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.errors import DataError
from efface.runs.listing import list_runs
from tests.reporting.full_runs import write_class_run


def test_every_run_is_listed_with_its_status_and_verdict(tmp_path: Path) -> None:
    write_class_run(tmp_path / "a" / "run")
    write_class_run(tmp_path / "b")
    (tmp_path / "b" / "evaluation.json").unlink()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "record.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    first, second, broken = list_runs(tmp_path)
    assert (first.run, first.status) == (tmp_path / "a" / "run", "finished")
    assert first.verdict.startswith("forget: ") and second.verdict == ""
    assert first.request.startswith("label") and "record.json" in broken.status


def test_a_folder_may_be_a_run_and_links_are_not_followed(tmp_path: Path) -> None:
    run = write_class_run(tmp_path / "run")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [one.run for one in list_runs(tmp_path)] == [run] == [r.run for r in list_runs(run)]
    with pytest.raises(DataError, match="is no folder"):
        list_runs(tmp_path / "nothing")
