"""The run folders below a folder, and how each of them ended (no torch)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from efface.errors import DataError, EffaceError
from efface.records import read_attacks, read_evaluation, read_record

DEEPEST = 3  # folders within one another


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run in one line: `status` and `verdict` are words, "" where there is none."""

    run: Path
    request: str
    method: str
    status: str
    verdict: str


def list_runs(folder: str | Path = ".") -> list[ListedRun]:
    """Every run in a folder and the folders within it, by its path; DataError for no folder."""
    if not Path(folder).is_dir():
        raise DataError(f"{folder} is no folder: give one that holds runs.")
    return [_read(run) for run in sorted(_find(Path(folder), DEEPEST))]


def _find(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "record.json").is_file():
        yield folder
    elif depth:
        for inner in folder.iterdir():
            if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
                yield from _find(inner, depth - 1)


def _read(run: Path) -> ListedRun:
    """A run that cannot be read is listed with the reason."""
    from efface.reporting import judge_run
    from efface.requests import is_request, read_request

    try:
        record = read_record(run)
        asked = record.request
        request = read_request(asked).describe() if is_request(asked) else str(asked.get("kind"))
    except EffaceError as error:
        return ListedRun(run=run, request="", method="", status=str(error), verdict="")
    verdict = ""
    if (run / "evaluation.json").exists():
        try:
            verdict = judge_run(record, read_evaluation(run), attacks=read_attacks(run)).summary
        except DataError as error:
            verdict = str(error)
    return ListedRun(
        run=run, request=request, method=record.method, status=record.status, verdict=verdict
    )
