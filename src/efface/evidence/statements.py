"""What a pack says of itself: SHA256SUMS, and two in-toto Statements on the model of every run.

One Statement carries SLSA provenance, the other the predicate of
`docs/reference/evidence-pack.md`. Each is a function of the other files of its run, of the hashes
of the model's files and of efface's version.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from efface.errors import DataError
from efface.files import hash_file, parse_json
from efface.records import Attacks, Evaluation, RunRecord, parse_record

SUMS = "SHA256SUMS"
PROVENANCE, MEASUREMENT = "provenance.intoto.json", "evaluation.intoto.json"
STATEMENT = "https://in-toto.io/Statement/v1"
SLSA = "https://slsa.dev/provenance/v1"
HOME = "https://github.com/efface/efface"
BUILD, EVALUATION = f"{HOME}/forget/v1", f"{HOME}/evaluation/v1"
NAMESPACE = uuid.UUID("6ae4bd27-5d20-4f5c-9f80-7a1c25a60a3f")  # of request identifiers
CARD = "README.md"  # of a model: its wording may change later
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


def make_sums(files: Mapping[str, bytes]) -> bytes:
    """`SHA256SUMS` of all files but itself, as coreutils write and check it."""
    names = sorted(files.keys() - {SUMS})
    return "".join(f"{_sha256(files[name])}  {name}\n" for name in names).encode()


def read_sums(content: bytes) -> dict[str, str]:
    """SHA-256 by file name; DataError where a line is none or names a file again."""
    lines = content.decode("utf-8", "replace").splitlines()
    matches = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines]
    sums = {match[2]: match[1] for match in matches if match is not None}
    if len(sums) < len(lines):
        raise DataError(f"{SUMS} is not what efface writes: make it anew.")
    return sums


def make_statements(run: PackedRun) -> dict[str, bytes]:
    """Both Statements of a run, by file name."""
    record, evaluation = run.record, run.evaluation
    others = [
        _resource(name, _sha256(content))
        for name, content in sorted(run.files.items())
        if name not in (PROVENANCE, MEASUREMENT)
    ]
    provenance = {
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": {
                "model": record.model.get("source"),
                "request": record.request,
                "settings": record.settings,
            },
            "internalParameters": {"material": record.material, "environment": record.environment},
            "resolvedDependencies": list(_dependencies(run)),
        },
        "runDetails": {
            "builder": {"id": HOME, "version": record.versions},
            "metadata": {
                "invocationId": request_id(record),
                "startedOn": record.started,
                "finishedOn": record.finished,
            },
            "byproducts": others,
        },
    }
    measurement = {
        "evaluator": {"id": HOME, "version": {"efface": run.version}},
        "request": request_id(record),
        "figures": [result.model_dump(mode="json") for result in evaluation.results],
        "change": evaluation.change,
        "broken": evaluation.broken,
        "records": others,
    }
    subject = [_resource(name, digest) for name, digest in sorted(run.subjects.items())]
    predicates = {PROVENANCE: (SLSA, provenance), MEASUREMENT: (EVALUATION, measurement)}
    return {
        name: _as_json(
            {"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": content}
        )
        for name, (kind, content) in predicates.items()
    }


def read_statements(files: Mapping[str, bytes]) -> tuple[dict[str, str], str]:
    """What a run's Statements rest on beside its records; DataError where they do not say it.

    These are the SHA-256 of the delivered model's files, and the version of efface that packed it.
    """
    provenance = parse_json(files.get(PROVENANCE, b""), PROVENANCE, "make it anew")
    measurement = parse_json(files.get(MEASUREMENT, b""), MEASUREMENT, "make it anew")
    try:
        subjects = {str(f["name"]): str(f["digest"]["sha256"]) for f in provenance["subject"]}
        return subjects, str(measurement["predicate"]["evaluator"]["version"]["efface"])
    except (KeyError, TypeError) as error:
        raise DataError("a Statement is not what efface writes: make it anew.") from error


def request_id(record: RunRecord) -> str:
    """A UUID of what was asked of which model when: the same wherever the run lies."""
    asked = {"request": record.request, "model": record.model, "started": record.started}
    return f"urn:uuid:{uuid.uuid5(NAMESPACE, json.dumps(asked, sort_keys=True))}"


def input_weights(record: RunRecord) -> dict[str, str]:
    """Weight hashes of the model that a run began with; DataError if they are none."""
    weights = record.model.get("weights", {})
    texts = isinstance(weights, dict) and all(isinstance(v, str) for v in weights.values())
    if not texts:
        raise DataError("record.json gives the weights of the model as something else than hashes.")
    return weights


def weights_among(subjects: Mapping[str, str]) -> dict[str, str]:
    """Those files of a model that a record calls weights."""
    return {n: h for n, h in subjects.items() if re.fullmatch(r"[^/]+/[^/]+\.safetensors", n)}


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a model folder but its card, its judge and hidden ones, by name."""
    hashes = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or name.parts[0] == "judge" or str(name) == CARD or not file.is_file():
            continue
        hashes[name.as_posix()] = hash_file(file)
    return hashes


def _dependencies(run: PackedRun) -> Iterator[dict[str, Any]]:
    """The original model, the run that this one started from, and the networks that measured."""
    for name, digest in input_weights(run.record).items():
        yield _resource(f"original model/{name}", digest)
    start = (run.record.start or {}).get("output") or {}
    for name, digest in start.items():
        yield _resource(f"start/{name}", digest)
    evaluation, attacks = run.evaluation, run.attacks
    networks = [evaluation.judge, None if attacks is None else attacks.judge]
    networks += [part.extractor for part in (*evaluation.results, *evaluation.curves)]
    named = {str(n.get("sha256")): str(n.get("name")) for n in reversed(networks) if n}
    for digest, name in named.items():
        yield _resource(f"network/{name}", digest)


def _resource(name: str, digest: str) -> dict[str, Any]:
    """An in-toto ResourceDescriptor."""
    return {"name": name, "digest": {"sha256": digest}}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _as_json(content: dict[str, Any]) -> bytes:
    """With null for what is no finite number: JSON has no other way to say so."""
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)
    return (json.dumps(finite, indent=2) + "\n").encode()


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
