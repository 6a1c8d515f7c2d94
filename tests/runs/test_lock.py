"""One process at a time in a run folder; a dead one holds nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from efface.errors import RequestError
from efface.runs.lock import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from efface.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_once_and_its_name_is_told(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with locked(out):
        with pytest.raises(RequestError, match=f"{out} is in use"), locked(out):
            pass
        assert [path.name for path in out.iterdir()] == [LOCK]
    with locked(out):
        pass


@pytest.mark.parametrize("link", [False, True])
def test_a_link_to_a_folder_is_that_folder(tmp_path: Path, link: bool) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    first, second = (tmp_path / name for name in ("link", "run")[:: 1 if link else -1])
    with locked(first), pytest.raises(RequestError, match=f"{second} is in use"), locked(second):
        pass
    assert (tmp_path / "link").is_symlink()


def test_only_a_folder_that_was_made_for_it_goes_again(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new", "written"):
        with locked(tmp_path / name):
            if name == "written":
                (tmp_path / name / "file").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "written"]
    assert not any((tmp_path / name / LOCK).exists() for name in ("empty", "written"))


def test_what_raises_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    with locked(tmp_path):
        pass


def test_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(RequestError, match="is in use"), locked(tmp_path / "run"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "run" / LOCK).exists()  # which nobody holds
    with locked(tmp_path / "run"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["file", "file/run", "link"])
def test_where_no_folder_can_be_one_sentence_says_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nothing" / "there")
    with pytest.raises(RequestError, match="cannot be written"), locked(tmp_path / place):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]
