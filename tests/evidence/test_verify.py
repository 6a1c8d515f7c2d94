"""Verification: each difference is named, and what is measured again lies in its interval."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from efface.diffusion.loading import save_pipeline
from efface.errors import DataError, ModelError
from efface.evidence.archive import read_archive, to_zip
from efface.evidence.pack import pack
from efface.evidence.statements import (
    SUMS,
    make_sums,
)
from efface.evidence.verify import verify
from efface.records import AttackResult, Attacks, Curve, read_record, write_json
from tests.evidence.packs import CHEAP, WEIGHTS, changed, consistent, flipped, rewritten, subjects


def test_a_true_pack_and_its_model_agree(packed, model):
    found = verify(packed, model)
    assert found.good, found.differences
    assert found.sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()
    names = [check.subject for check in found.checks]
    assert names[:4] == ["files", "run-1", "report.html", "model"]
    content = json.loads(read_archive(packed).files["run-1/evaluation.json"])
    tables = [
        "threshold_curve",
        "judge",
        "labels_seen",
        "change",
        "guidance",
        "change_protocol",
        "broken",
        "terms",
    ]
    expected = [result["spec"]["name"] for result in content["results"]] + tables
    names = [name.partition(" (")[0] for name in names]
    assert names[4:] == ["training", *expected, "samples/after.png", "samples/before.png"]
    assert [check.subject for check in found.checks if not check.looked] == ["training"]


def test_a_true_pack_of_forgotten_images_agrees_with_its_model(image_run, tmp_path):
    pack([image_run], tmp_path / "a.zip")
    found = verify(tmp_path / "a.zip", image_run)
    assert found.good, found.differences
    names = {check.subject for check in found.checks}
    assert {"copy_rate", "image ada.png", "samples/images.png", "copy_curve"} <= names
    assert [check.subject for check in found.checks if not check.looked] == ["training"]


def test_a_run_folder_stands_for_its_pipeline(packed, label_run):
    assert verify(packed, label_run, CHEAP).good


def test_one_flipped_byte_in_the_weights_is_named(packed, model):
    path = model / WEIGHTS
    path.write_bytes(flipped(path.read_bytes()))
    assert subjects(verify(packed, model)) == {WEIGHTS, "figures"}


@pytest.mark.parametrize("name", ["scheduler/scheduler_config.json", "pipeline.py"])
def test_a_changed_configuration_is_named(packed, model, name):
    path = model / name
    path.write_bytes(path.read_bytes() + b" ")
    assert subjects(verify(packed, model)) == {name, "figures"}


def test_missing_and_added_weights_are_named(packed, model):
    (model / WEIGHTS).rename(model / "unet" / "other.safetensors")
    found = verify(packed, model)
    assert subjects(found) == {WEIGHTS, "unet/other.safetensors", "figures"}


def test_a_model_card_and_notes_beside_the_weights_are_no_difference(packed, model):
    (model / "README.md").write_text("reworded")
    (model / "notes.txt").write_text("mine")
    (model / ".cache").mkdir()
    (model / ".cache" / "x.json").write_text("{}")
    assert verify(packed, model, CHEAP).good


def test_a_figure_that_was_made_up_is_found_by_measuring_again(packed, model, tmp_path):
    evaluation = json.loads(read_archive(packed).files["run-1/evaluation.json"])
    for result in evaluation["results"]:
        if result["spec"]["name"] == "retained_accuracy":
            result |= {"value": 0.95, "low": 0.9, "high": 0.99}
    content = (json.dumps(evaluation, indent=2) + "\n").encode()
    out = rewritten(packed, tmp_path / "a.zip", True, **{"run-1/evaluation.json": content})
    assert "retained_accuracy" in subjects(verify(out, model, "retained_accuracy"))


def test_an_archive_packed_by_another_tool_is_named(packed, model, tmp_path):
    (tmp_path / "a.zip").write_bytes(packed.read_bytes()[:-2] + b"\x04\x00note")
    assert subjects(verify(tmp_path / "a.zip", model, CHEAP)) == {"archive"}


def test_the_run_that_made_the_model_is_found_among_several(label_run, image_run, model, tmp_path):
    pack([image_run, label_run], tmp_path / "a.zip")
    found = verify(tmp_path / "a.zip", model, "retained_accuracy")
    assert found.good, found.differences
    assert any("run-2" in check.text for check in found.checks if check.subject == "model")


def test_another_classifier_and_an_original_model_that_is_not_here_are_said(
    packed, model, tiny_model, tmp_path
):
    moved = changed(
        packed,
        "run-1/record.json",
        model=json.loads(read_archive(packed).files["run-1/record.json"])["model"]
        | {"source": "owner/not-here"},
    )
    out = rewritten(packed, tmp_path / "a.zip", True, **{"run-1/record.json": moved})
    last = verify(out, model).checks[-1]
    assert "not on this machine" in last.text and not last.looked
    strange = Path(shutil.copytree(tiny_model / "judge", tmp_path / "judge"))
    path = strange / "model.safetensors"
    path.write_bytes(flipped(path.read_bytes()))
    checks = verify(packed, model, "fd", judge=strange).checks
    (named,) = (check for check in checks if "--judge" in check.text)
    assert not named.looked
    assert str(tmp_path) in verify(packed, model, judge=tmp_path).checks[-1].text


def test_a_metric_that_is_not_there_is_named(packed, model, tmp_path):
    assert "unlearning_accuracy" in verify(packed, model, "nothing").checks[-1].text
    evaluation = json.loads(read_archive(packed).files["run-1/evaluation.json"])
    evaluation["results"][0]["spec"]["name"] = "magic"
    content = (json.dumps(evaluation, indent=2) + "\n").encode()
    out = rewritten(packed, tmp_path / "b.zip", False, **{"run-1/evaluation.json": content})
    last = verify(out, model, "magic").checks[-1]
    assert "not a figure of such a run" in last.text and not last.good


def test_what_was_not_measured_is_not_called_right(packed, model, tmp_path):
    asked = verify(packed, model, "none")
    assert asked.good and not asked.checks[-1].looked
    evaluation = changed(packed, "run-1/evaluation.json", results=[])
    out = rewritten(packed, tmp_path / "a.zip", False, **{"run-1/evaluation.json": evaluation})
    found = {name.partition(" (")[0] for name in subjects(verify(out, model))}
    assert {"unlearning_accuracy", "fd"} <= found


def test_samples_that_the_model_does_not_generate_are_named(packed, model, tmp_path):
    name = "run-1/samples/after.png"
    sheet = Image.open(io.BytesIO(read_archive(packed).files[name]))
    tile = sheet.height // 10
    sheet.paste(sheet.resize((tile, tile)), (2 * tile, 2 * tile))  # one sample of many
    forged = io.BytesIO()
    sheet.save(forged, "PNG")
    out = rewritten(packed, tmp_path / "a.zip", True, **{name: forged.getvalue()})
    assert "samples/after.png" in subjects(verify(out, model))


def test_attacks_are_named_as_not_run_again(label_run, model, tmp_path):
    run = Path(shutil.copytree(label_run, tmp_path / "run"))
    curve = Curve(
        name="relearning", title="", x_label="steps", y_label="share", lines={}, protocol=""
    )
    attack = AttackResult(
        attack="relearning", title="Relearning", summary="what is done", curve=curve, level=1.0,
        floor=0.0, costs={}, self_tests=[], settings={}, seeds=[], seconds=1.0,
    )  # fmt: skip
    attacks = Attacks(output=read_record(run).output, results=[attack])
    write_json(run / "attacks.json", attacks)
    pack([run], tmp_path / "a.zip")
    found = verify(tmp_path / "a.zip", model, CHEAP)
    (check,) = [check for check in found.checks if check.subject == "attack relearning"]
    assert found.good and not check.looked


def test_a_method_named_in_a_pack_is_never_imported(packed, model, tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = json.loads(read_archive(packed).files["run-1/record.json"])["settings"]
    settings["method"] = {"name": "hostile.method"}
    content = changed(packed, "run-1/record.json", settings=settings)
    out = rewritten(packed, tmp_path / "a.zip", False, **{"run-1/record.json": content})
    checks = {check.subject: check for check in verify(out, model).checks}
    assert checks["unlearning_accuracy"].good


def without_charts(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a run that logged no losses and recorded no curves: its page is quickly made."""
    evaluation = json.loads(files["run-1/evaluation.json"]) | {"curves": []}
    rest = {name: content for name, content in files.items() if name != "run-1/metrics.jsonl"}
    return rest | {"run-1/evaluation.json": json.dumps(evaluation).encode()}


@pytest.mark.parametrize("value", [None, "/" + "y" * 5000, [[1]], 10**400], ids=lambda v: type(v))
def test_strange_values_in_a_record_end_as_findings(packed, model, tmp_path, value):
    files = without_charts(read_archive(packed).files)
    record = json.loads(files["run-1/record.json"])
    places = [(key,) for key in ("request", "model", "settings", "sampler", "hardware", "notes")]
    places += [("model", key) for key in ("source", "null_label", "weights")]
    places += [("request", key) for key in record["request"]]
    places += [("settings", "evaluate"), ("settings", "train"), ("sampler", "passes")]
    for place in places:
        altered = json.loads(json.dumps(record))
        inner = altered if len(place) == 1 else altered[place[0]]
        inner[place[-1]] = value
        files["run-1/record.json"] = (json.dumps(altered, indent=2) + "\n").encode()
        with contextlib.suppress(DataError):  # then the sums do not fit either
            files = consistent(files)
        (tmp_path / "a.zip").write_bytes(to_zip(files))
        found = {check.subject for check in verify(tmp_path / "a.zip", model).differences}
        assert "report.html" in found or found & {"run-1", "run-1/record.json"}, place


@pytest.mark.parametrize("content", [b"x", b"\xff" * 70, b"00  a\n", b"\n"])
def test_sums_that_are_none_are_named(packed, model, tmp_path, content):
    out = rewritten(packed, tmp_path / "a.zip", False, **{SUMS: content})
    assert SUMS in subjects(verify(out, model, CHEAP))
    sums = read_archive(packed).files[SUMS]
    for changed_sums in (sums * 2, sums + content, sums.replace(b"  ", b" *")):
        out = rewritten(packed, tmp_path / "a.zip", False, **{SUMS: changed_sums})
        assert SUMS in subjects(verify(out, model, CHEAP))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "1" + "0" * 400, "9" * 5000, "[]"])
def test_numbers_that_are_none_are_differences(packed, model, tmp_path, number):
    text = read_archive(packed).files["run-1/evaluation.json"].decode()
    name = json.loads(text)["results"][0]["spec"]["name"]
    start = '\n      "value": '  # of the result itself, not of its margin
    place = text.index(start) + len(start)
    end = text.index(",", place)
    content = f"{text[:place]}{number}{text[end:]}".encode()
    files = read_archive(packed).files | {"run-1/evaluation.json": content}
    with contextlib.suppress(DataError):
        files = consistent(files)
    (tmp_path / "a.zip").write_bytes(to_zip(files | {SUMS: make_sums(files)}))
    assert subjects(verify(tmp_path / "a.zip", model, name)) & {name, "run-1"}


def test_no_model_is_one_sentence(packed, tmp_path, tiny_unet):
    with pytest.raises(ModelError, match="no model at"):
        verify(packed, tmp_path / "nothing")
    save_pipeline(tiny_unet(seed=7), tmp_path / "other")
    found = verify(packed, tmp_path / "other")
    assert WEIGHTS in subjects(found)
