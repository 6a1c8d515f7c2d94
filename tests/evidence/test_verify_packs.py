"""Verification of a pack's own files: sums, Statements, records and report fit each other."""

from __future__ import annotations

import json

import pytest

from efface.evidence.archive import read_archive, to_zip
from efface.evidence.statements import (
    MEASUREMENT,
    PROVENANCE,
    SUMS,
    make_sums,
)
from efface.evidence.verify import verify
from tests.evidence.packs import CHEAP, WEIGHTS, changed, flipped, rewritten, subjects

PACKED = (
    *(f"run-1/{name}" for name in ("record.json", "evaluation.json", "metrics.jsonl")),
    *("run-1/samples/after.png", "report.html"),
    *(f"run-1/{PROVENANCE}", f"run-1/{MEASUREMENT}"),
    SUMS,
)


@pytest.mark.parametrize("name", PACKED)
def test_one_flipped_byte_on_the_disk_is_named(packed, model, tmp_path, name):
    whole, content = packed.read_bytes(), read_archive(packed).files[name]
    at = whole.index(content) + len(content) // 2
    (tmp_path / "a.zip").write_bytes(flipped(whole, at))
    assert name in subjects(verify(tmp_path / "a.zip", model, CHEAP))


@pytest.mark.parametrize("name", PACKED[:-1])
def test_one_flipped_byte_in_an_archive_written_anew_is_named(packed, model, tmp_path, name):
    content = read_archive(packed).files[name]
    files = {name: flipped(content, len(content) // 2)}
    path = rewritten(packed, tmp_path / "a.zip", False, **files)
    assert name in subjects(verify(path, model, CHEAP))


def test_a_statement_about_another_model_is_named(packed, model, tmp_path):
    statement = json.loads(read_archive(packed).files[f"run-1/{PROVENANCE}"])
    for entry in statement["subject"]:
        if entry["name"] == WEIGHTS:
            entry["digest"]["sha256"] = "00" * 32
    content = (json.dumps(statement, indent=2) + "\n").encode()
    out = rewritten(packed, tmp_path / "a.zip", True, **{f"run-1/{PROVENANCE}": content})
    assert {"run-1", WEIGHTS} <= subjects(verify(out, model, CHEAP))
    statement["subject"].append(statement["subject"][0])
    content = (json.dumps(statement, indent=2) + "\n").encode()
    files = read_archive(packed).files | {f"run-1/{PROVENANCE}": content}
    (tmp_path / "b.zip").write_bytes(to_zip(files | {SUMS: make_sums(files)}))
    assert "run-1" in subjects(verify(tmp_path / "b.zip", model, CHEAP))


def test_files_missing_from_and_added_to_a_pack_are_named(packed, model, tmp_path):
    gone = rewritten(packed, tmp_path / "a.zip", False, **{"run-1/metrics.jsonl": None})
    assert subjects(verify(gone, model, CHEAP)) == {"run-1/metrics.jsonl"}
    more = rewritten(packed, tmp_path / "b.zip", False, **{"run-1/samples/more.png": b""})
    assert subjects(verify(more, model, CHEAP)) == {"run-1/samples/more.png"}
    none = rewritten(packed, tmp_path / "c.zip", False, **{SUMS: None})
    assert subjects(verify(none, model, CHEAP)) > {"report.html", "run-1/record.json"}
    lost = rewritten(packed, tmp_path / "d.zip", False, **{"run-1/record.json": None})
    assert {"run-1", "run-1/record.json"} <= subjects(verify(lost, model, CHEAP))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 2}', b"[" * 10**5])
def test_malformed_json_is_named(packed, model, tmp_path, content):
    members = ("record.json", "evaluation.json", PROVENANCE, MEASUREMENT)
    for name, subject in (*((f"run-1/{member}", "run-1") for member in members),):
        out = rewritten(packed, tmp_path / "a.zip", False, **{name: content})
        assert subject in subjects(verify(out, model, CHEAP))


def test_a_report_that_says_something_else_is_named_though_all_hashes_fit(packed, model, tmp_path):
    page = read_archive(packed).files["report.html"]
    page = page.replace(b"original model", b"other model")
    assert page != read_archive(packed).files["report.html"]
    out = rewritten(packed, tmp_path / "a.zip", True, **{"report.html": page})
    assert subjects(verify(out, model, CHEAP)) == {"report.html"}


def test_records_that_contradict_each_other_are_named_though_all_hashes_fit(
    packed, model, tmp_path
):
    running = changed(packed, "run-1/record.json", status="running")
    out = rewritten(packed, tmp_path / "b.zip", True, **{"run-1/record.json": running})
    assert subjects(verify(out, model, CHEAP)) == {"run-1/record.json"}
    other = changed(packed, "run-1/record.json", output={WEIGHTS: "00"})
    out = rewritten(packed, tmp_path / "c.zip", True, **{"run-1/record.json": other})
    assert subjects(verify(out, model, CHEAP)) == {"run-1"}
