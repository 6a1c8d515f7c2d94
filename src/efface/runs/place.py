"""May a run folder be used, and for which run: known before anything heavy is loaded (no torch)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from efface.errors import RequestError
from efface.evaluation.wording import printable
from efface.records import RunRecord

STEPS = "train.steps"
INCIDENTAL = ("train.checkpoint_every", "train.ignore_memory", "train.log_every")
NAMED, SHOWN = 5, 60  # entries that differ, and letters of their values, in a sentence
LOCK = ".lock"  # a file of the run folder while a process works there
BESIDE = (LOCK, "lost+found")  # in a folder that counts as empty
ASIDE = ".replaced"  # in `out`: the run that a new one replaces, until that has begun
MOVING = ".moving"  # the same, while a part of it still lies in its place


def holds_run(out: Path, resume: bool, overwrite: bool, needed: Iterable[Any] = ()) -> bool:
    """Whether there is a run in `out` to go on with; RequestError if `out` must not be used.

    Nothing is touched, so that this can come before anything heavy. `needed` are paths, among
    other things, that must not go with a run that is replaced.
    """
    if resume and overwrite:
        raise RequestError("both --resume and --overwrite were given: give the one you mean.")
    if not out.exists() or (out.is_dir() and not content_of(out) and not is_interrupted(out)):
        return False
    if not (out / "record.json").exists() and not is_interrupted(out):
        raise RequestError(
            f"{out} exists and is no run of efface: nothing there was touched. Give another folder."
        )
    if overwrite:
        require_outside(out, needed)
        return False
    if not resume:
        raise RequestError(
            f"{out} holds a run already: add --resume to go on with it, --overwrite to replace "
            "it, or give another folder."
        )
    return True


def require_outside(out: Path, needed: Iterable[Any]) -> None:
    """Raise RequestError where something that a run needs would go with the run in `out`.

    By its own path, through a link on the way to it, or as a link among its files. What is no
    path of this machine is passed over.
    """
    home = out.resolve()
    for given in needed:
        named = str(given).partition("@sha256:")[0]
        if not isinstance(given, str | Path) or not os.path.lexists(named):
            continue
        path = Path(os.path.abspath(named))
        files = [file for file in path.rglob("*") if file.is_symlink()] if path.is_dir() else []
        for place in (path, *path.parents, *files):
            if Path(os.path.realpath(place)).is_relative_to(home):
                raise RequestError(
                    f"{given} lies in {out}, and would go with the run that --overwrite replaces: "
                    "give another folder, or move it out of there first."
                )


def check_same(
    out: Path, earlier: RunRecord, before: Mapping[str, Any], now: Mapping[str, Any]
) -> bool:
    """Whether the run in `out` is to make more steps than it was; RequestError for another run.

    `before` and `now` are what it was made with and what is asked for, by SECTION.NAME.
    """
    before, now = (
        {name: value for name, value in own.items() if name not in INCIDENTAL}
        for own in (before, now)
    )
    more = _more_steps(before, now)
    if more:
        if earlier.stopped or earlier.status == "collapsed":
            raise RequestError(
                f"{out} ended by itself before its last step: more steps would change nothing. "
                "Resume it with the same train.steps, or give another folder."
            )
        before = before | {STEPS: now[STEPS]}
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differing:
        told = [f"{n} was {_told(before, n)} and is {_told(now, n)}" for n in differing[:NAMED]]
        rest = len(differing) - len(told)
        more_of_them = f"; {rest} more differ" if rest else ""
        raise RequestError(
            f"{out} holds another run: {'; '.join(told)}{more_of_them}. Resume it with the same "
            "arguments, or give another folder."
        )
    return more


def _more_steps(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a run is to go on beyond its last step, at a learning rate that knows no last one."""
    old, new = before.get(STEPS), now.get(STEPS)
    constant = now.get("train.learning_rate_schedule") == "constant"
    return constant and isinstance(old, int) and isinstance(new, int) and old < new


def entries(value: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """What a tree of JSON objects holds, by SECTION.NAME."""
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from entries(inner, f"{place}{name}.")
        else:
            yield f"{place}{name}", inner


def _told(entries: Mapping[str, Any], name: str) -> str:
    text = json.dumps(entries[name]) if name in entries else "left out"
    return printable(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def content_of(out: Path) -> list[Path]:
    """What lies in a folder but for what is no part of a run: new disks have a lost+found."""
    return [path for path in out.iterdir() if path.name not in (*BESIDE, ASIDE, MOVING)]


def is_interrupted(out: Path) -> bool:
    """Whether a process was killed while it put the run in `out` aside or back."""
    put_aside = (out / ASIDE).exists() and not (out / "record.json").exists()
    return put_aside or (out / MOVING).exists()
