"""Records of a pack: read out of bytes that anybody may have written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from efface.errors import DataError
from efface.records import Attacks, Evaluation, RunRecord, parse_record

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class PackedRun:
    """One run in a pack: its files and the records among them."""

    folder: str
    files: Mapping[str, bytes]  # by name in its folder
    record: RunRecord
    evaluation: Evaluation
    attacks: Attacks | None
    subjects: Mapping[str, str]  # SHA-256 of the files of the delivered model
    version: str  # of efface that packs it


def run_folders(names: Iterable[str]) -> list[str]:
    """`run-1`, `run-2`, ... among the names of a pack."""
    folders = {name.partition("/")[0] for name in names if name.startswith("run-")}
    return sorted(folders, key=lambda folder: int(folder.removeprefix("run-")))


def files_of(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of one run, by their names in its folder."""
    start = f"{folder}/"
    return {name.removeprefix(start): c for name, c in files.items() if name.startswith(start)}


def read_packed(
    folder: str, files: Mapping[str, bytes], subjects: Mapping[str, str], version: str
) -> PackedRun:
    """A run out of its files; DataError for a record that is missing or is none."""

    def read(kind: type[M], name: str) -> M:
        if name not in files:
            raise DataError(f"{folder}/{name} is missing.")
        return parse_record(kind, files[name], f"{folder}/{name}", "make it anew")

    return PackedRun(
        folder=folder,
        files=files,
        record=read(RunRecord, "record.json"),
        evaluation=read(Evaluation, "evaluation.json"),
        attacks=read(Attacks, "attacks.json") if "attacks.json" in files else None,
        subjects=subjects,
        version=version,
    )
