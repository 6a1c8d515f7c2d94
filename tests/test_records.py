"""Records and evaluations: what is written is what is read."""

from __future__ import annotations

import functools
import json

import pytest
from pydantic import ValidationError

from efface.errors import DataError
from efface.records import (
    Cost,
    Evaluation,
    Matrix,
    Rate,
    Result,
    RunRecord,
    Speed,
    Value,
    read_evaluation,
    read_record,
    write_json,
)
from tests.specs import spec_of

SPEED = functools.partial(Speed, line="result", seeds=[0])


def record() -> RunRecord:
    return RunRecord(
        status="finished",
        request={"kind": "class", "labels": [0], "replacement": [1]},
        model={"source": "zoo:digits", "weights": {"unet/a.safetensors": "00"}},
        method="SFD",
        settings={"train": {"steps": 5, "clip_norm": None}},
        versions={"torch": "2.6"},
        hardware={"cores": 2, "gpus": []},
        started="2025-01-01T00:00:00+00:00",
        seconds=1.5,
        guard=[{"step": 1.0, "accuracy": 0.9}],
    )


def evaluation() -> Evaluation:
    value = Value(value=0.9, low=0.85, high=0.95)
    result = Result(
        spec=spec_of("unlearning_accuracy"),
        **value.model_dump(),
        samples=500,
        seeds=[1000, 1499],
        protocol="one step",
        baseline=Value(value=0.02, low=0.01, high=0.03),
    )
    return Evaluation(results=[result], judge={"name": "judge"})


def test_a_record_comes_back_as_written(tmp_path):
    write_json(tmp_path / "record.json", record())
    assert read_record(tmp_path) == record()


def test_an_evaluation_comes_back_as_written(tmp_path):
    write_json(tmp_path / "evaluation.json", evaluation())
    read = read_evaluation(tmp_path)
    assert read == evaluation()
    assert read.get("unlearning_accuracy") == read.results[0]
    assert read.get("fd") is None


@pytest.mark.parametrize(("name", "make"), [("record", record), ("evaluation", evaluation)])
def test_the_version_of_the_format_is_called_schema_and_comes_first(tmp_path, name, make):
    write_json(tmp_path / f"{name}.json", make())
    content = json.loads((tmp_path / f"{name}.json").read_text())
    assert next(iter(content.items())) == ("schema", 1)
    assert "schema_version" not in content


def test_writing_replaces_the_file_and_leaves_nothing_else(tmp_path):
    write_json(tmp_path / "record.json", record())
    later = record().model_copy(update={"status": "collapsed", "note": "gone"})
    write_json(tmp_path / "record.json", later)
    assert read_record(tmp_path) == later
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_missing_files_are_named_with_what_to_do(tmp_path):
    with pytest.raises(
        DataError, match=f"{tmp_path}/record.json is missing: give the folder of a run"
    ):
        read_record(tmp_path)
    with pytest.raises(
        DataError, match="evaluation.json is missing: measure it with `efface evaluate`"
    ):
        read_evaluation(tmp_path)
    with pytest.raises(DataError, match="record.json is not what efface writes|is missing"):
        read_record(tmp_path / "nothing")


def written() -> dict[str, object]:
    content = record().model_dump(mode="json")
    content["schema"] = content.pop("schema_version")
    return content


def without(key: str) -> bytes:
    content = written()
    del content[key]
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"\xff\xfe", id="not text"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b"3", id="a number"),
        pytest.param(b"null", id="nothing"),
        pytest.param(without("schema"), id="no schema"),
        pytest.param(without("status"), id="no status"),
        pytest.param(json.dumps(written() | {"status": "lost"}).encode(), id="unknown status"),
        pytest.param(json.dumps(written() | {"extra": 1}).encode(), id="unknown key"),
        pytest.param(json.dumps(written() | {"seconds": "long"}).encode(), id="wrong type"),
    ],
)
def test_garbled_files_are_named(tmp_path, content):
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(DataError, match="record.json is not what efface writes"):
        read_record(tmp_path)


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_a_record_of_another_version_is_refused_with_that_reason(tmp_path, schema):
    (tmp_path / "record.json").write_text(json.dumps(written() | {"schema": schema}))
    with pytest.raises(
        DataError, match=r"was written by another version of efface \(its schema is"
    ):
        read_record(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": [0]},
        {"seen": [0, 1, 2]},
        {"samples": [10]},
        {"shares": {"result": [[1, 0], [0, 1]]}},
        {"shares": {"baseline": [[1, 0], [0, 1]], "result": [[1, 0]]}},
        {"labels": [], "samples": [], "shares": {"baseline": [], "result": []}},
    ],
)
def test_a_matrix_of_another_shape_is_refused(change: dict):
    shares = {name: [[0.9, 0.1], [0.0, 1.0]] for name in ("baseline", "result")}
    whole = {"labels": [0, 1], "seen": [0, 1], "shares": shares, "samples": [10, 10]}
    Matrix.model_validate(whole | {"protocol": ""})
    with pytest.raises(ValidationError):
        Matrix.model_validate(whole | {"protocol": ""} | change)


@pytest.mark.parametrize("strange", [float("inf"), float("-inf"), float("nan"), -1, "x", [1]])
@pytest.mark.parametrize(
    ("kind", "fields", "name"),
    [
        (Cost, {"share": 0.5}, "budget"),
        (Rate, {"rate": 1e-3, "highest": 0.5, "most": 1}, "half"),
        (Rate, {"rate": 1e-3, "highest": 0.5, "half": 1}, "most"),
        (SPEED, {"retrained": [1], "ratio": 1, "low": 1, "high": 1}, "budgets"),
        (SPEED, {"budgets": [1], "ratio": 1, "low": 1, "high": 1}, "retrained"),
        (SPEED, {"budgets": [1], "retrained": [1], "low": 1, "high": 1}, "ratio"),
    ],
)
def test_a_budget_is_a_number_or_not_reached(kind, fields, name, strange):
    many = name in ("budgets", "retrained")
    kind(**fields | {name: [None] if many else None})
    with pytest.raises(ValidationError):
        kind(**fields | {name: [strange] if many else strange})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(json.dumps(written() | {"steps": 10**18 * 10}), id="beyond 64 bits"),
        pytest.param('{"schema": 1, "a": ' + "[" * 100_000 + "]" * 100_000 + "}", id="deep"),
        pytest.param('{"schema": 1, "a": ' + '{"a": ' * 65 + "1" + "}" * 66, id="nested"),
        pytest.param(json.dumps(written() | {"model": {"source": 3}}), id="source"),
        pytest.param(json.dumps(written() | {"model": {"null_label": "x"}}), id="null label"),
        pytest.param(json.dumps(written() | {"model": {"size": 1.5}}), id="size"),
        pytest.param(json.dumps(written() | {"model": {"weights": ["a"]}}), id="weights"),
        pytest.param(json.dumps(written() | {"model": {"weights": {"a": 1}}}), id="a hash"),
        pytest.param(json.dumps(written() | {"start": {"output": None}}), id="start"),
        pytest.param(json.dumps(written() | {"start": {"request": "distil"}}), id="its request"),
        pytest.param(json.dumps(written() | {"settings": {"train": 3}}), id="a section"),
        pytest.param(json.dumps(written() | {"settings": [1]}), id="settings"),
        pytest.param(json.dumps(written() | {"hardware": {"gpus": True}}), id="gpus"),
        pytest.param(json.dumps(written() | {"hardware": {"gpus": [1]}}), id="a gpu"),
        pytest.param(json.dumps(written() | {"hardware": {"cores": "2"}}), id="cores"),
    ],
)
def test_entries_of_another_kind_are_no_record(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(DataError, match="record.json is not what efface writes"):
        read_record(tmp_path)


@pytest.mark.parametrize("model", [{}, {"source": None}, {"source": "m", "later": [1]}])
def test_entries_may_be_left_out_and_more_may_be_there(tmp_path, model):
    changed = record().model_copy(update={"model": model, "settings": {}})
    write_json(tmp_path / "record.json", changed)
    assert read_record(tmp_path) == changed
