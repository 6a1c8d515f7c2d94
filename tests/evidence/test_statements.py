"""In-toto Statements: what they say of a run, and that every entry of theirs counts."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.diffusion.weight_files import hash_weights
from efface.evidence.archive import read_archive
from efface.evidence.pack import collect_run
from efface.evidence.statements import (
    MEASUREMENT,
    PROVENANCE,
    files_of,
    make_statements,
    read_packed,
    read_statements,
    request_id,
)
from efface.evidence.verify import check_statements
from efface.records import Attacks, Result, read_evaluation, read_record, write_json
from tests.evidence.packs import change


def statement(run: Path, name: str) -> dict[str, Any]:
    made = make_statements(collect_run(run, efface.__version__))
    return json.loads(made[f"{name}.intoto.json"])


def test_both_statements_are_about_the_delivered_model(label_run):
    model = label_run / "pipeline"
    for name, kind in (
        ("provenance", "https://slsa.dev/provenance/v1"),
        ("evaluation", "https://github.com/efface/efface/evaluation/v1"),
    ):
        found = statement(label_run, name)
        assert found.keys() == {"_type", "subject", "predicateType", "predicate"}
        assert found["_type"] == "https://in-toto.io/Statement/v1"
        assert found["predicateType"] == kind
        subject = {entry["name"]: entry["digest"]["sha256"] for entry in found["subject"]}
        assert hash_weights(model).items() <= subject.items()
        for file in ("scheduler/scheduler_config.json", "model_index.json"):
            assert subject[file] == hashlib.sha256((model / file).read_bytes()).hexdigest()


def test_provenance_says_what_was_asked_of_what_with_what_and_when(label_run):
    record, evaluation = read_record(label_run), read_evaluation(label_run)
    predicate = statement(label_run, "provenance")["predicate"]
    assert predicate.keys() == {"buildDefinition", "runDetails"}
    build, details = predicate["buildDefinition"], predicate["runDetails"]
    asked = {"model": record.model["source"], "request": record.request}
    assert build["externalParameters"] == asked | {"settings": record.settings}
    needed = {r["name"]: r["digest"]["sha256"] for r in build["resolvedDependencies"]}
    weights = record.model["weights"].items()
    networks = [result.extractor or {} for result in evaluation.results]
    assert len({network["sha256"] for network in networks}) == 2  # a classifier and pixels
    assert needed == {f"original model/{name}": digest for name, digest in weights} | {
        f"network/{network['name']}": network["sha256"] for network in networks
    }
    assert details["builder"]["version"] == record.versions
    assert {"efface", "torch"} <= record.versions.keys()
    assert build["internalParameters"]["environment"] == record.environment
    assert {"typer", "C library"} <= record.environment.keys()
    identifier = details["metadata"].pop("invocationId")
    assert uuid.UUID(identifier).version == 5 and identifier.startswith("urn:uuid:")
    assert details["metadata"] == {"startedOn": record.started, "finishedOn": record.finished}
    files = collect_run(label_run, efface.__version__).files
    for entry in details["byproducts"]:
        digest = hashlib.sha256(files[entry["name"]]).hexdigest()
        assert entry["digest"] == {"sha256": digest}


def test_every_network_that_measured_or_attacked_is_a_dependency(copied):
    evaluation = read_evaluation(copied)
    clip = {"name": "a clip", "sha256": "11" * 32}
    results = [evaluation.results[0], evaluation.results[0].model_copy(update={"extractor": clip})]
    write_json(copied / "evaluation.json", evaluation.model_copy(update={"results": results}))
    judge = {"name": "another classifier", "sha256": "22" * 32}
    output = read_record(copied).output
    write_json(copied / "attacks.json", Attacks(output=output, results=[], judge=judge))
    start = {"output": {"unet/x.safetensors": "33" * 32}, "request": {}}
    change(copied / "record.json", start=start)
    build = statement(copied, "provenance")["predicate"]["buildDefinition"]
    needed = {r["name"]: r["digest"]["sha256"] for r in build["resolvedDependencies"]}
    assert needed["network/a clip"] == "11" * 32
    assert needed["network/another classifier"] == "22" * 32
    assert needed["start/unet/x.safetensors"] == "33" * 32


def test_the_evaluation_says_what_was_measured(copied):
    evaluation = read_evaluation(copied)
    predicate = statement(copied, "evaluation")["predicate"]
    assert [Result.model_validate(r) for r in predicate["figures"]] == evaluation.results
    assert (predicate["change"], predicate["broken"]) == (evaluation.change, evaluation.broken)
    assert predicate["evaluator"]["version"] == {"efface": efface.__version__}
    assert predicate["request"] == request_id(read_record(copied))


def test_statements_are_json_though_a_figure_is_no_number(copied):
    evaluation = read_evaluation(copied)
    change = evaluation.change | {"samples": math.nan, "weights": math.inf}
    write_json(copied / "evaluation.json", evaluation.model_copy(update={"change": change}))
    predicate = statement(copied, "evaluation")["predicate"]
    assert predicate["change"] == change | {"samples": None, "weights": None}


def test_the_identifier_depends_on_request_model_and_time_alone(label_run):
    record = read_record(label_run)
    assert request_id(record) == request_id(record.model_copy(update={"seconds": 9.0}))
    others = (
        {"started": "2020-01-01T00:00:00+00:00"},
        {"request": record.request | {"labels": [4]}},
        {"model": record.model | {"weights": {}}},
    )
    assert len({request_id(record.model_copy(update=u)) for u in others}) == 3
    assert request_id(record) not in {request_id(record.model_copy(update=u)) for u in others}


@pytest.mark.parametrize("name", [PROVENANCE, MEASUREMENT])
def test_every_entry_of_a_statement_counts(packed, name):
    """But the files of the model, compared with it, and the version, whose page is not checked."""
    files = files_of("run-1", read_archive(packed).files)
    run = read_packed("run-1", files, *read_statements(files))
    assert not check_statements(run)
    statement = json.loads(files[name])
    places = [place for place in entries(statement) if place[0] != "subject"]
    places = [place for place in places if place[1:2] != ["evaluator"] or place[-1] == "id"]
    places = [place for place in places if place[1:2] != ["figures"] or place[2] == 0]
    assert len(places) > 30
    for place in places:
        altered = json.loads(json.dumps(statement))
        inner = altered
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = "another"
        content = (json.dumps(altered, indent=2) + "\n").encode()
        found = check_statements(replace(run, files=run.files | {name: content}))
        assert [check.subject for check in found] == [f"run-1/{name}"], place


def entries(value: Any, place: list[Any] | None = None) -> list[list[Any]]:
    """Places of all that is neither an object nor a list."""
    place = place or []
    if not isinstance(value, dict | list):
        return [place]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [found for key, part in inner for found in entries(part, [*place, key])]
