"""May a run folder be used: nothing that a user has is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from efface.errors import RequestError
from efface.runs.place import holds_run, require_outside


def link_file(out: Path, outside: Path) -> Path:
    (outside / "unet").mkdir()
    (outside / "unet" / "weights").symlink_to(out / "pipeline" / "weights")
    return outside


def link_on_the_way(out: Path, outside: Path) -> Path:
    (outside / "way").symlink_to(out)
    (out / "away").symlink_to(outside)
    return outside / "way" / "away"


def link_to(out: Path, outside: Path) -> Path:
    (outside / "link").symlink_to(out / "pipeline")
    return outside / "link"


def link_within(out: Path, outside: Path) -> Path:
    (out / "link").symlink_to(outside)
    return out / "link"


WITHIN = {
    "the run": lambda out, outside: out,
    "its pipeline": lambda out, outside: out / "pipeline",
    "as text": lambda out, outside: str(out / "pipeline"),
    "relative": lambda out, outside: os.path.relpath(out / "pipeline"),
    "dots": lambda out, outside: outside / ".." / "run" / "pipeline",
    "dots within": lambda out, outside: out / "pipeline" / ".." / "samples",
    "a file": lambda out, outside: out / "pipeline" / "weights",
    "a link to it": link_to,
    "a link within": link_within,
    "a link on the way": link_on_the_way,
    "a linked file": link_file,
}
OUTSIDE = {
    "elsewhere": lambda out, outside: outside,
    "nothing": lambda out, outside: None,
    "not there": lambda out, outside: out / "not-there",
    "a hub id": lambda out, outside: "owner/name",
    "around it": lambda out, outside: out.parent,
    "a like name": lambda out, outside: Path(f"{out}-2"),
    "dots through it": lambda out, outside: out / ".." / "outside",
}


def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RequestError, match="nothing there was touched"):
            holds_run(tmp_path, False, overwrite)
    assert not holds_run(tmp_path / "new", False, False)
    with pytest.raises(RequestError, match="--resume"):
        holds_run(tmp_path / "new", True, True)


@pytest.mark.parametrize("name", [*WITHIN, *OUTSIDE])
@pytest.mark.parametrize("linked", [False, True])
def test_what_a_run_needs_is_not_replaced_by_it(tmp_path: Path, name: str, linked: bool):
    out, outside = tmp_path / "run", tmp_path / "outside"
    for folder in (out / "pipeline", out / "samples", outside, tmp_path / "run-2"):
        folder.mkdir(parents=True)
    (out / "pipeline" / "weights").touch()
    given = (WITHIN | OUTSIDE)[name](out, outside)
    if linked and name != "around it":
        (tmp_path / "link").symlink_to(out)
        out = tmp_path / "link"
    if name in OUTSIDE:
        require_outside(out, [None, given])
        return
    for needed in (given, f"{given}@sha256:{'0' * 64}"):
        with pytest.raises(RequestError, match=f"{needed} lies in {out}"):
            require_outside(out, [outside / "nothing", needed])
