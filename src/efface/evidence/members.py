"""Records of a pack: read out of bytes that anybody may have written, and their JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from efface.errors import DataError
from efface.evidence.environment import Environment
from efface.records import Attacks, Evaluation, RunRecord
from efface.reporting.run_folder import GRID

M = TypeVar("M", bound=BaseModel)

MAX_RECORD_BYTES = 2**26
SCHEMA = "https://json-schema.org/draft/2020-12/schema"
RECORDS: dict[str, type[BaseModel]] = {
    "record": RunRecord,
    "evaluation": Evaluation,
    "attacks": Attacks,
    "environment": Environment,
}


def run_folders(names: Iterable[str]) -> list[str]:
    """`run-1`, `run-2`, ... among the names of a pack."""
    folders = {name.partition("/")[0] for name in names if name.startswith("run-")}
    return sorted(folders, key=lambda folder: int(folder.removeprefix("run-")))


def files_of(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of one run, by their names in its folder."""
    start = f"{folder}/"
    return {name.removeprefix(start): c for name, c in files.items() if name.startswith(start)}


def parse_member(kind: type[M], files: Mapping[str, bytes], name: str) -> M:
    """One record of a pack; DataError if it is missing or is none."""
    if name not in files:
        raise DataError(f"{name} is missing.")
    return parse_record(kind, files[name], name)


def parse_record(kind: type[M], content: bytes, name: str) -> M:
    """A record out of bytes that anybody may have written; DataError with the reason."""
    values = parse_json(content, name)
    try:
        version = values.pop("schema")
        if version == 1:
            return kind.model_validate(values | {"schema_version": 1})
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{name} is not what efface writes: make it anew.") from error
    raise DataError(
        f"{name} was written by another version of efface (its schema is {str(version)[:20]!r} "
        "and this one reads 1): use that version."
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


def json_schemas() -> dict[str, bytes]:
    """The JSON Schemas of the records of a pack as they stand in their files, by name."""
    schemas = {"grid": GRID.json_schema()}
    for name, kind in RECORDS.items():
        schemas[name] = schema = kind.model_json_schema()
        properties = schema["properties"]
        schema["properties"] = {"schema": properties.pop("schema_version")} | properties
        schema["required"] = ["schema", *schema.get("required", [])]
    return {
        name: (json.dumps({"$schema": SCHEMA} | schema, indent=2) + "\n").encode()
        for name, schema in schemas.items()
    }
