"""Records of a pack: read out of bytes that anybody may have written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from efface.errors import DataError
from efface.records import Attacks, Evaluation, RunRecord

M = TypeVar("M", bound=BaseModel)

MAX_RECORD_BYTES = 2**26


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
    attacks = None
    if "attacks.json" in files:
        attacks = _parse_record(Attacks, folder, files, "attacks.json")
    return PackedRun(
        folder=folder,
        files=files,
        record=_parse_record(RunRecord, folder, files, "record.json"),
        evaluation=_parse_record(Evaluation, folder, files, "evaluation.json"),
        attacks=attacks,
        subjects=subjects,
        version=version,
    )


def _parse_record(kind: type[M], folder: str, files: Mapping[str, bytes], name: str) -> M:
    """A record out of bytes that anybody may have written; DataError with the reason."""
    if name not in files:
        raise DataError(f"{folder}/{name} is missing.")
    values = parse_json(files[name], f"{folder}/{name}")
    try:
        version = values.pop("schema")
        if version == 1:
            return kind.model_validate(values | {"schema_version": 1})
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}/{name} is not what efface writes: make it anew.") from error
    raise DataError(
        f"{folder}/{name} was written by another version of efface (its schema is "
        f"{str(version)[:20]!r} and this one reads 1): use that version."
    )


def parse_json(content: bytes, name: str) -> dict[str, Any]:
    """A JSON object in which no key stands twice; DataError where it is none, or too large."""
    if len(content) > MAX_RECORD_BYTES:
        raise DataError(f"{name} has more than {MAX_RECORD_BYTES} bytes, which no record has.")
    try:
        values = json.loads(content.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not what efface writes: make it anew.") from error
    if not isinstance(values, dict):
        raise DataError(f"{name} is not what efface writes: make it anew.")
    return values


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: of the two values, readers differ in which they take."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice")
    return values
