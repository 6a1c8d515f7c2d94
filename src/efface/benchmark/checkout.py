"""Which commit of this package is at work."""

import shutil
import subprocess
from pathlib import Path


def checked_out() -> str | None:
    """The commit, with "+changes" if files differ; None outside of a checkout."""
    here = Path(__file__)
    if shutil.which("git") is None or not _git("ls-files", here.name):
        return None
    differ = _git("status", "--porcelain", "--", ":/", ":(top,exclude)benchmarks/results")
    return _git("rev-parse", "HEAD") + ("+changes" if differ else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
