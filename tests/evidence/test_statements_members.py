"""Records out of a pack: read whole, or refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from efface.errors import DataError
from efface.evidence.statements import files_of, read_packed, run_folders


def packed_files(run: Path, **others: bytes) -> dict[str, bytes]:
    names = ("record.json", "evaluation.json")
    return {name: (run / name).read_bytes() for name in names} | others


def test_runs_come_in_the_order_of_their_numbers():
    names = ["run-10/record.json", "run-2/record.json", "report.html", "run-2/metrics.jsonl"]
    assert run_folders(names) == ["run-2", "run-10"]
    assert files_of("run-2", dict.fromkeys(names, b"")) == {
        "record.json": b"",
        "metrics.jsonl": b"",
    }


def test_a_record_that_is_missing_is_named(label_run):
    files = packed_files(label_run)
    assert read_packed("run-1", files, {}, "1").attacks is None
    with pytest.raises(DataError, match=r"run-1/record\.json is missing"):
        read_packed("run-1", {"evaluation.json": files["evaluation.json"]}, {}, "1")


@pytest.mark.parametrize("name", ["record.json", "evaluation.json"])
def test_a_record_of_another_version_is_refused_with_the_reason(label_run, name):
    content = json.loads((label_run / name).read_text()) | {"schema": 2}
    files = packed_files(label_run) | {name: json.dumps(content).encode()}
    with pytest.raises(DataError, match=rf"{name} was written by another version .* '2'"):
        read_packed("run-1", files, {}, "1")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b'{"schema": 1}', b"[" * 10**5,
                                     b'{"schema": 1, "schema": 1}'])  # fmt: skip
def test_an_unreadable_record_is_named(label_run, content):
    files = packed_files(label_run) | {"evaluation.json": content}
    with pytest.raises(DataError, match=r"evaluation\.json is not what efface writes"):
        read_packed("run-1", files, {}, "1")
