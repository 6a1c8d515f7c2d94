"""Packs: same run, same bytes; complete; nothing from outside the run folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest

from efface.errors import DataError, RequestError
from efface.evidence.manifest import Manifest, json_schema, parse_record, request_id
from efface.evidence.pack import pack
from efface.records import Attacks, hash_weights, read_record, write_json

WEIGHTS = "pipeline/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copied(label_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(label_run, tmp_path / "run"))


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n")


def test_a_pack_holds_all_that_a_run_claims(label_run, picture_run, tmp_path):
    pack([label_run], tmp_path / "labels.zip")
    pack([picture_run], tmp_path / "images.zip")
    common = {f"run-1/{n}.json" for n in ("record", "evaluation", "environment", "pipeline")}
    common |= {"manifest.json", "report.html", "run-1/metrics.jsonl", "run-1/samples/grid.json"}
    common |= {"run-1/samples/before.png", "run-1/samples/after.png"}
    kinds = ("record", "evaluation", "attacks", "environment", "pipeline", "manifest")
    kinds += ("grid", "metrics")
    common |= {f"schemas/{kind}.json" for kind in kinds}
    assert contents(tmp_path / "labels.zip").keys() == common
    extra = {"run-1/samples/images.png"}
    assert contents(tmp_path / "images.zip").keys() == common | extra
    for name in ("record.json", "evaluation.json", "metrics.jsonl", "samples/after.png"):
        packed = contents(tmp_path / "labels.zip")[f"run-1/{name}"]
        assert packed == (label_run / name).read_bytes()


def test_the_manifest_names_hashes_times_and_the_request(label_run, tmp_path):
    pack([label_run], tmp_path / "a.zip")
    files, record = contents(tmp_path / "a.zip"), read_record(label_run)
    manifest = parse_record(Manifest, files.pop("manifest.json"), "manifest.json")
    assert {n: (e.sha256, e.bytes) for n, e in manifest.files.items()} == {
        name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in files.items()
    }
    (run,) = manifest.runs
    assert run.input == record.model["weights"]
    assert run.output == hash_weights(label_run / "pipeline")
    assert (run.started, run.finished, run.seconds) == (
        record.started, record.finished, record.seconds,
    )  # fmt: skip
    assert run.environment == "recorded by the run"
    assert uuid.UUID(run.request_id).version == 5
    pipeline = json.loads(files["run-1/pipeline.json"])["files"]
    assert "scheduler/scheduler_config.json" in pipeline
    assert pipeline["model_index.json"] == hashlib.sha256(
        (label_run / "pipeline/model_index.json").read_bytes()
    ).hexdigest()  # fmt: skip


def test_the_same_run_gives_the_same_bytes_wherever_it_lies(label_run, tmp_path):
    elsewhere = shutil.copytree(label_run, tmp_path / "another name" / "copy")
    for n, path in enumerate(sorted(elsewhere.rglob("*"))):
        os.utime(path, (n, n))
        path.chmod(0o700)
    first = pack([label_run], tmp_path / "a.zip")
    second = pack([elsewhere], tmp_path / "b.zip")
    assert first == second
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_nothing_in_a_pack_tells_where_the_run_lay(label_run, picture_run, tmp_path):
    pack([label_run, picture_run], tmp_path / "a.zip")
    content = (tmp_path / "a.zip").read_bytes()
    for run in (label_run, picture_run):
        assert str(run).encode() not in content
    assert b"a-name-of-the-owner" not in content
    # The owner gave the model and the pictures by these paths: as written, and nothing else.
    given = {read_record(label_run).model["source"], read_record(picture_run).model["source"]}
    given.add(read_record(picture_run).request["images"])
    root = os.path.commonpath([label_run, picture_run, *given]).encode()
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


def test_several_runs_go_into_one_pack(label_run, picture_run, tmp_path):
    pack([label_run, picture_run], tmp_path / "a.zip")
    files = contents(tmp_path / "a.zip")
    assert files["run-2/record.json"] == (picture_run / "record.json").read_bytes()
    manifest = parse_record(Manifest, files["manifest.json"], "manifest.json")
    assert [run.folder for run in manifest.runs] == ["run-1", "run-2"]


def test_a_run_without_an_environment_says_so(picture_run, copied, tmp_path):
    (copied / "environment.json").unlink()
    pack([copied], tmp_path / "a.zip")
    files = contents(tmp_path / "a.zip")
    manifest = parse_record(Manifest, files["manifest.json"], "manifest.json")
    assert manifest.runs[0].environment == "only the versions in record.json"
    environment = json.loads(files["run-1/environment.json"])
    assert environment["complete"] is False
    assert environment["distributions"]["torch"] == read_record(copied).versions["torch"]


def test_schemas_describe_the_files_in_the_pack(label_run, tmp_path):
    pack([label_run], tmp_path / "a.zip")
    files = contents(tmp_path / "a.zip")
    for name in ("record", "evaluation", "environment", "pipeline"):
        schema = json.loads(files[f"schemas/{name}.json"])
        values = json.loads(files[f"run-1/{name}.json"])
        check_schema(values, schema, schema)
        with pytest.raises(AssertionError):
            check_schema(values | {"unknown": 1}, schema, schema)
    assert json.loads(json_schema(Attacks))["required"][0] == "schema"
    grid = json.loads(files["schemas/grid.json"])
    check_schema(json.loads(files["run-1/samples/grid.json"]), grid, grid)
    line = json.loads(files["schemas/metrics.json"])
    for text in files["run-1/metrics.jsonl"].decode().splitlines():
        values = json.loads(text)
        assert isinstance(values.pop("step"), int) and "step" in line["required"]
        kind = line["additionalProperties"]
        assert kind == {"type": "number"} and all(fits(v, kind, line) for v in values.values())


def check_schema(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """The keywords of JSON Schema that pydantic writes for these records."""
    if "$ref" in schema:
        check_schema(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    for part in ("const", "enum"):
        if part in schema:
            assert value in (schema[part] if part == "enum" else [schema[part]])
    if "anyOf" in schema:
        assert any(fits(value, option, root) for option in schema["anyOf"])
    if "type" in schema:
        kinds = {"object": dict, "array": list, "string": str, "boolean": bool,
                 "integer": int, "number": (int, float), "null": type(None)}  # fmt: skip
        assert isinstance(value, kinds[schema["type"]])
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        assert set(schema.get("required", [])) <= value.keys()
        other = schema.get("additionalProperties", True)
        for key, inner in value.items():
            assert key in properties or other is not False
            if key in properties or isinstance(other, dict):
                check_schema(inner, properties.get(key, other), root)
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for inner in value:
            check_schema(inner, schema["items"], root)


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    try:
        check_schema(value, schema, root)
    except AssertionError:
        return False
    return True


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


def test_a_picture_with_a_strange_name_is_refused(copied, tmp_path):
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


@pytest.mark.parametrize("name", ["record.json", "evaluation.json", "environment.json"])
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


def test_a_broken_picture_is_named(copied, tmp_path):
    (copied / "samples" / "after.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"after\.png is no sound PNG"):
        pack([copied], tmp_path / "a.zip")
