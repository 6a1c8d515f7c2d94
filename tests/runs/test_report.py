"""A report of one run or several, with model cards and evidence where they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

import efface
from efface.errors import DataError, RequestError
from tests.reporting.full_runs import write_class_run


def test_one_run_or_several_make_one_page(tmp_path: Path) -> None:
    first, second = (write_class_run(tmp_path / name) for name in "ab")
    written = efface.report(first)
    assert written.page == first / "report.html" and written.page.exists()
    assert written.pack is None and written.model_cards == ()
    both = efface.report([first, str(second)], tmp_path / "both.html")
    assert both.page.read_text().count("<section") > written.page.read_text().count("<section")


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path: Path) -> None:
    run = write_class_run(tmp_path / "run")
    for wrong in ({"sign_key": "key.pem"}, {"pack": run / "record.json"}):
        with pytest.raises(RequestError):
            efface.report(run, **wrong)
    with pytest.raises(RequestError, match="no run was given"):
        efface.report([])
    with pytest.raises(DataError, match="record.json is missing"):
        efface.report(tmp_path)
    assert not (run / "report.html").exists()
