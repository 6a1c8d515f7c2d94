"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.errors import RequestError
from efface.files import require_empty, whole_file


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_what_was_there_stays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def stop_halfway() -> None:
        with whole_file(path) as part:
            part.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_below_a_file_nothing_is_written_and_the_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    def write() -> None:
        with whole_file(tmp_path / "file" / "page.html") as part:
            part.write_text("new")

    with pytest.raises(NotADirectoryError):
        write()
    assert (tmp_path / "file").read_text() == "mine"


def test_only_a_folder_with_nothing_in_it_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for free in ("new", "empty"):
        require_empty(tmp_path / free)
    (tmp_path / "file").write_text("mine")
    for full in (tmp_path, tmp_path / "file"):
        with pytest.raises(RequestError, match="exists.*another folder"):
            require_empty(full)
    assert (tmp_path / "file").read_text() == "mine"
