"""What a pack says of itself: hashes of all its files, the runs in it, the shape of records."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from efface.errors import DataError
from efface.evidence.environment import Environment
from efface.records import Attacks, Evaluation, RunRecord
from efface.reporting.run_folder import GRID

M = TypeVar("M", bound=BaseModel)

MANIFEST = "manifest.json"
REPORT = "report.html"
NAMESPACE = uuid.UUID("6ae4bd27-5d20-4f5c-9f80-7a1c25a60a3f")  # of request identifiers
MAX_RECORD_BYTES = 2**26
CARD = "README.md"  # of a model: its wording may change later
SCHEMA = "https://json-schema.org/draft/2020-12/schema"


class PipelineFiles(BaseModel):
    """`pipeline.json`: SHA-256 of every file of the result, weights and configuration."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    files: dict[str, str]

    @property
    def weights(self) -> dict[str, str]:
        """Those that a record calls weights."""
        return {n: h for n, h in self.files.items() if re.fullmatch(r"[^/]+/[^/]+\.safetensors", n)}


class FileEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str
    bytes: int


class RunEntry(BaseModel):
    """A run in the pack: what was asked when, and the weights before and after."""

    model_config = ConfigDict(extra="forbid")

    folder: str
    request_id: str
    status: str
    started: str
    finished: str | None
    seconds: float | None
    input: dict[str, str]  # SHA-256 of weights
    output: dict[str, str]
    environment: Literal["recorded by the run", "only the versions in record.json"]


class Manifest(BaseModel):
    """`manifest.json`: a function of the other files of the pack."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    efface: str  # version that wrote the pack and its report
    runs: list[RunEntry]
    files: dict[str, FileEntry]


RECORDS: dict[str, type[BaseModel]] = {
    "record": RunRecord,
    "evaluation": Evaluation,
    "attacks": Attacks,
    "environment": Environment,
    "pipeline": PipelineFiles,
    "manifest": Manifest,
}


METRICS_LINE: dict[str, Any] = {
    "title": "One line of metrics.jsonl",
    "type": "object",
    "properties": {"step": {"type": "integer"}},
    "required": ["step"],
    "additionalProperties": {"type": "number"},
}


def request_id(record: RunRecord) -> str:
    """A UUID of what was asked of which model when: the same wherever the run lies."""
    asked = {"request": record.request, "model": record.model, "started": record.started}
    return str(uuid.uuid5(NAMESPACE, json.dumps(asked, sort_keys=True)))


def build_manifest(files: Mapping[str, bytes], version: str) -> Manifest:
    """The manifest of these files; DataError for a record that cannot be read."""
    runs = []
    for folder in run_folders(files):
        record = parse_member(RunRecord, files, f"{folder}/record.json")
        environment = parse_member(Environment, files, f"{folder}/environment.json")
        runs.append(
            RunEntry(
                folder=folder,
                request_id=request_id(record),
                status=record.status,
                started=record.started,
                finished=record.finished,
                seconds=record.seconds,
                input=input_weights(record),
                output=record.output,
                environment="recorded by the run"
                if environment.complete
                else "only the versions in record.json",
            )
        )
    entries = {
        name: FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        for name, content in sorted(files.items())
        if name != MANIFEST
    }
    return Manifest(efface=version, runs=runs, files=entries)


def run_folders(names: Iterable[str]) -> list[str]:
    """`run-1`, `run-2`, ... among the names of a pack."""
    folders = {name.partition("/")[0] for name in names if name.startswith("run-")}
    return sorted(folders, key=lambda folder: int(folder.removeprefix("run-")))


def input_weights(record: RunRecord) -> dict[str, str]:
    """Weight hashes of the model that a run began with; DataError if they are none."""
    weights = record.model.get("weights", {})
    texts = isinstance(weights, dict) and all(isinstance(v, str) for v in weights.values())
    if not texts:
        raise DataError("record.json gives the weights of the model as something else than hashes.")
    return weights


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a model folder but its card, its judge and hidden ones, by name."""
    hashes = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or name.parts[0] == "judge" or str(name) == CARD or not file.is_file():
            continue
        with file.open("rb") as stream:
            hashes[name.as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes


def as_json(model: BaseModel) -> bytes:
    """A record as `write_json` writes it."""
    content = model.model_dump(mode="json")
    content = {"schema": content.pop("schema_version")} | content
    return (json.dumps(content, indent=2) + "\n").encode()


def parse_member(kind: type[M], files: Mapping[str, bytes], name: str) -> M:
    """One record of a pack; DataError if it is missing or is none."""
    if name not in files:
        raise DataError(f"{name} is missing.")
    return parse_record(kind, files[name], name)


def parse_record(kind: type[M], content: bytes, name: str) -> M:
    """A record out of bytes that anybody may have written; DataError with the reason."""
    if len(content) > MAX_RECORD_BYTES:
        raise DataError(f"{name} has more than {MAX_RECORD_BYTES} bytes, which no record has.")
    try:
        values = json.loads(content.decode("utf-8"), object_pairs_hook=_unique)
        version = values.pop("schema")
        if version == 1:
            return kind.model_validate(values | {"schema_version": 1})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{name} is not what efface writes: make it anew.") from error
    raise DataError(
        f"{name} was written by another version of efface (its schema is {str(version)[:20]!r} "
        "and this one reads 1): use that version."
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: of the two values, readers differ in which they take."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice")
    return values


def json_schemas() -> dict[str, bytes]:
    """The JSON Schemas of all that a pack holds as JSON, by name."""
    found = {name: json_schema(kind) for name, kind in RECORDS.items()}
    return found | {"grid": _schema_text(GRID.json_schema()), "metrics": _schema_text(METRICS_LINE)}


def json_schema(kind: type[BaseModel]) -> bytes:
    """The JSON Schema of a record as it stands in its file."""
    schema = kind.model_json_schema()
    properties = schema["properties"]
    schema["properties"] = {"schema": properties.pop("schema_version")} | properties
    schema["required"] = ["schema", *schema.get("required", [])]
    return _schema_text(schema)


def _schema_text(schema: dict[str, Any]) -> bytes:
    return (json.dumps({"$schema": SCHEMA} | schema, indent=2) + "\n").encode()
