"""A script's file of results: how they came about, then what was measured."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from efface.runs.folder import hardware, versions


def write_results(
    path: Path, seeds: list[int], content: dict[str, Any], commit: str | None = None
) -> None:
    """Write as JSON: command, commit, date, machine and seeds, then the content.

    `commit` is for a copy that is not a git checkout; by default git says it.
    """
    head = {
        "command": " ".join(["python", *sys.argv]),
        "commit": checked_out() if commit is None else commit,
        "date": datetime.date.today().isoformat(),
        "machine": hardware() | versions(),
        "seeds": seeds,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head | content, indent=2) + "\n", encoding="utf-8")


def checked_out() -> str:
    """The commit, with "+changes" if files but results differ; empty where there is no git."""
    if shutil.which("git") is None:
        return ""
    differ = git("status", "--porcelain", "--", ":/", ":(top,exclude)benchmarks/results")
    return git("rev-parse", "HEAD") + ("+changes" if differ else "")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True).stdout.strip()
