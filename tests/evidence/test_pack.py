"""Packs: same run, same bytes; complete; nothing from outside the run folder."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.diffusion.weight_files import hash_weights
from efface.errors import DataError, RequestError
from efface.evidence.pack import pack
from efface.evidence.statements import request_id
from efface.records import (
    Attacks,
    Result,
    read_evaluation,
    read_record,
    write_json,
)

WEIGHTS = "pipeline/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copied(label_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(label_run, tmp_path / "run"))


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n")


def test_a_pack_holds_all_that_a_run_claims(label_run, image_run, tmp_path):
    pack([label_run], tmp_path / "labels.zip")
    pack([image_run], tmp_path / "images.zip")
    common = {f"run-1/{n}.json" for n in ("record", "evaluation")}
    common |= {f"run-1/{n}.intoto.json" for n in ("provenance", "evaluation")}
    common |= {"SHA256SUMS", "report.html", "run-1/metrics.jsonl", "run-1/samples/grid.json"}
    common |= {"run-1/samples/before.png", "run-1/samples/after.png"}
    assert contents(tmp_path / "labels.zip").keys() == common
    extra = {"run-1/samples/images.png"}
    assert contents(tmp_path / "images.zip").keys() == common | extra
    for name in ("record.json", "evaluation.json", "metrics.jsonl", "samples/after.png"):
        packed = contents(tmp_path / "labels.zip")[f"run-1/{name}"]
        assert packed == (label_run / name).read_bytes()


def test_the_sums_are_those_that_coreutils_check(label_run, tmp_path):
    pack([label_run], tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "a")
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    check = ["sha256sum", "--strict", "--check", "SHA256SUMS"]
    done = subprocess.run(check, cwd=tmp_path / "a", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK\n") == len(files) - 1  # all but itself
    (tmp_path / "a" / "report.html").write_text("another page")
    assert subprocess.run(check, cwd=tmp_path / "a", capture_output=True).returncode == 1


def statement(path: Path, name: str) -> dict[str, Any]:
    return json.loads(contents(path)[f"run-1/{name}.intoto.json"])


def test_both_statements_are_about_the_delivered_model(label_run, tmp_path):
    pack([label_run], tmp_path / "a.zip")
    model = label_run / "pipeline"
    for name, kind in (
        ("provenance", "https://slsa.dev/provenance/v1"),
        ("evaluation", "https://github.com/efface/efface/evaluation/v1"),
    ):
        found = statement(tmp_path / "a.zip", name)
        assert found.keys() == {"_type", "subject", "predicateType", "predicate"}
        assert found["_type"] == "https://in-toto.io/Statement/v1"
        assert found["predicateType"] == kind
        subject = {entry["name"]: entry["digest"]["sha256"] for entry in found["subject"]}
        assert hash_weights(model).items() <= subject.items()
        for file in ("scheduler/scheduler_config.json", "model_index.json"):
            assert subject[file] == hashlib.sha256((model / file).read_bytes()).hexdigest()


def test_provenance_says_what_was_asked_of_what_with_what_and_when(label_run, tmp_path):
    pack([label_run], tmp_path / "a.zip")
    record, evaluation = read_record(label_run), read_evaluation(label_run)
    predicate = statement(tmp_path / "a.zip", "provenance")["predicate"]
    assert predicate.keys() == {"buildDefinition", "runDetails"}
    build, details = predicate["buildDefinition"], predicate["runDetails"]
    asked = {"model": record.model["source"], "request": record.request}
    assert build["externalParameters"] == asked | {"settings": record.settings}
    needed = {r["name"]: r["digest"]["sha256"] for r in build["resolvedDependencies"]}
    weights = record.model["weights"].items()
    judge = evaluation.judge or {}
    assert needed == {f"original model/{name}": digest for name, digest in weights} | {
        f"network/{judge['name']}": judge["sha256"]
    }
    assert details["builder"]["version"] == record.versions
    assert {"efface", "torch"} <= record.versions.keys()
    assert build["internalParameters"]["environment"] == record.environment
    assert {"typer", "C library"} <= record.environment.keys()
    identifier = details["metadata"].pop("invocationId")
    assert uuid.UUID(identifier).version == 5 and identifier.startswith("urn:uuid:")
    assert details["metadata"] == {"startedOn": record.started, "finishedOn": record.finished}
    files = contents(tmp_path / "a.zip")
    for entry in details["byproducts"]:
        digest = hashlib.sha256(files[f"run-1/{entry['name']}"]).hexdigest()
        assert entry["digest"] == {"sha256": digest}


def test_every_network_that_measured_or_attacked_is_a_dependency(copied, tmp_path):
    evaluation = read_evaluation(copied)
    clip = {"name": "a clip", "sha256": "11" * 32}
    results = [evaluation.results[0], evaluation.results[0].model_copy(update={"extractor": clip})]
    write_json(copied / "evaluation.json", evaluation.model_copy(update={"results": results}))
    judge = {"name": "another classifier", "sha256": "22" * 32}
    output = read_record(copied).output
    write_json(copied / "attacks.json", Attacks(output=output, results=[], judge=judge))
    start = {"output": {"unet/x.safetensors": "33" * 32}, "request": {}}
    change(copied / "record.json", start=start)
    pack([copied], tmp_path / "a.zip")
    build = statement(tmp_path / "a.zip", "provenance")["predicate"]["buildDefinition"]
    needed = {r["name"]: r["digest"]["sha256"] for r in build["resolvedDependencies"]}
    assert needed["network/a clip"] == "11" * 32
    assert needed["network/another classifier"] == "22" * 32
    assert needed["start/unet/x.safetensors"] == "33" * 32


def test_the_evaluation_says_what_was_measured(copied, tmp_path):
    pack([copied], tmp_path / "a.zip")
    evaluation = read_evaluation(copied)
    predicate = statement(tmp_path / "a.zip", "evaluation")["predicate"]
    assert [Result.model_validate(r) for r in predicate["figures"]] == evaluation.results
    assert (predicate["change"], predicate["broken"]) == (evaluation.change, evaluation.broken)
    assert predicate["evaluator"]["version"] == {"efface": efface.__version__}
    assert predicate["request"] == request_id(read_record(copied))


def test_statements_are_json_though_a_figure_is_no_number(copied, tmp_path):
    evaluation = read_evaluation(copied)
    change = evaluation.change | {"samples": math.nan, "weights": math.inf}
    write_json(copied / "evaluation.json", evaluation.model_copy(update={"change": change}))
    pack([copied], tmp_path / "a.zip")
    predicate = statement(tmp_path / "a.zip", "evaluation")["predicate"]
    assert predicate["change"] == change | {"samples": None, "weights": None}


def test_the_same_run_gives_the_same_bytes_wherever_it_lies(label_run, tmp_path):
    elsewhere = shutil.copytree(label_run, tmp_path / "another name" / "copy")
    for n, path in enumerate(sorted(elsewhere.rglob("*"))):
        os.utime(path, (n, n))
        path.chmod(0o700)
    first = pack([label_run], tmp_path / "a.zip")
    second = pack([elsewhere], tmp_path / "b.zip")
    assert first == second
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_nothing_in_a_pack_tells_where_the_run_lay(label_run, image_run, tmp_path):
    pack([label_run, image_run], tmp_path / "a.zip")
    content = (tmp_path / "a.zip").read_bytes()
    for run in (label_run, image_run):
        assert str(run).encode() not in content
    assert b"a-name-of-the-owner" not in content
    # The owner gave the model and the images by these paths: as written, and nothing else.
    given = {read_record(label_run).model["source"], read_record(image_run).model["source"]}
    given.add(read_record(image_run).request["images"])
    root = os.path.commonpath([label_run, image_run, *given]).encode()
    found = re.findall(re.escape(root) + rb"[\w./-]*", content)
    assert {path.decode() for path in found} <= given


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


def test_several_runs_go_into_one_pack(label_run, image_run, tmp_path):
    pack([label_run, image_run], tmp_path / "a.zip")
    files = contents(tmp_path / "a.zip")
    assert files["run-2/record.json"] == (image_run / "record.json").read_bytes()
    subjects = [json.loads(files[f"run-{n}/provenance.intoto.json"])["subject"] for n in (1, 2)]
    assert subjects[0] != subjects[1]


@pytest.mark.parametrize("name", ["record.json", "samples/after.png", "samples", "metrics.jsonl"])
def test_a_link_out_of_the_run_folder_is_refused(copied, tmp_path, name):
    moved = tmp_path / "outside"
    (copied / name).rename(moved)
    (copied / name).symlink_to(moved)
    with pytest.raises(RequestError, match=r"is a link .* lead out of the run folder"):
        pack([copied], tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_a_link_in_the_pipeline_is_refused(copied, tmp_path):
    (copied / "pipeline" / "more.json").symlink_to(tmp_path / "nothing")
    with pytest.raises(RequestError, match=r"more\.json is a link"):
        pack([copied], tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/secret", "a\\..\\b"])
def test_a_weight_file_outside_the_run_folder_is_refused(copied, tmp_path, name):
    change(copied / "record.json", output={name: "00" * 32})
    with pytest.raises(RequestError, match="leaves the folder"):
        pack([copied], tmp_path / "a.zip")


def test_an_image_with_a_strange_name_is_refused(copied, tmp_path):
    (copied / "samples" / "a b\n.png").write_bytes(b"")
    with pytest.raises(RequestError, match="name that cannot go into a pack"):
        pack([copied], tmp_path / "a.zip")


def test_weights_that_the_run_did_not_write_are_refused(copied, tmp_path):
    content = bytearray((copied / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copied / WEIGHTS).write_bytes(content)
    with pytest.raises(RequestError, match="is not what this run wrote"):
        pack([copied], tmp_path / "a.zip")


def test_attacks_on_other_weights_are_refused(copied, tmp_path):
    write_json(copied / "attacks.json", Attacks(output={"unet/x.safetensors": "00"}, results=[]))
    with pytest.raises(RequestError, match="about other weights"):
        pack([copied], tmp_path / "a.zip")
    write_json(copied / "attacks.json", Attacks(output=read_record(copied).output, results=[]))
    pack([copied], tmp_path / "a.zip")
    assert "run-1/attacks.json" in contents(tmp_path / "a.zip")


def test_a_run_that_is_not_finished_or_measured_is_refused(copied, tmp_path):
    change(copied / "record.json", status="running")
    with pytest.raises(RequestError, match="is not finished"):
        pack([copied], tmp_path / "a.zip")
    (copied / "evaluation.json").unlink()
    with pytest.raises(RequestError, match="efface evaluate"):
        pack([copied], tmp_path / "a.zip")
    with pytest.raises(RequestError, match="is no run of efface"):
        pack([tmp_path / "nothing"], tmp_path / "a.zip")
    with pytest.raises(RequestError, match="no run was given"):
        pack([], tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["record.json", "evaluation.json"])
def test_a_record_of_another_version_is_refused_with_the_reason(copied, tmp_path, name):
    change(copied / name, schema=2)
    with pytest.raises(DataError, match=rf"{name} was written by another version .* '2'"):
        pack([copied], tmp_path / "a.zip")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b'{"schema": 1}', b"[" * 10**5,
                                     b'{"schema": 1, "schema": 1}'])  # fmt: skip
def test_an_unreadable_record_is_named(copied, tmp_path, content):
    (copied / "evaluation.json").write_bytes(content)
    with pytest.raises(DataError, match=r"evaluation\.json is not what efface writes"):
        pack([copied], tmp_path / "a.zip")


def test_a_broken_image_is_named(copied, tmp_path):
    (copied / "samples" / "after.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"after\.png is no sound PNG"):
        pack([copied], tmp_path / "a.zip")
