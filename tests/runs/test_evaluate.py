"""Measuring a run again: what is measured anew, and what is refused."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import efface
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import save_pipeline
from efface.diffusion.weight_files import hash_weights
from efface.errors import RequestError
from efface.metrics.base import Metric
from efface.metrics.intervals import mean
from efface.records import (
    Margin,
    Spec,
    read_evaluation,
    read_record,
    write_json,
)
from efface.reporting import judge_run
from efface.runs.compare import compare
from tests.counting import assert_drawn_once, counting_passes, without_store


def test_evaluation_has_the_promised_shape(run: Path) -> None:
    content = json.loads((run / "evaluation.json").read_text())
    assert content["schema"] == 1
    metrics = {r["spec"]["name"]: r for r in content["results"]}
    promised = {"unlearning_accuracy", "retained_accuracy", "fd", "precision", "recall"}
    assert promised <= metrics.keys()
    for name, result in metrics.items():
        assert result["low"] <= result["value"] <= result["high"]
        baseline = result["baseline"]
        assert baseline["low"] <= baseline["value"] <= baseline["high"]
        drawn = result["seeds"][1] - result["seeds"][0] + 1
        drawn = drawn // 2 if "/" in name else drawn  # of one of two labels
        assert result["samples"] == {"worst_class": 5, "nearest_classes": 13}.get(name, drawn)
        assert "2 DDIM steps" in result["protocol"]
    assert metrics["unlearning_accuracy"]["samples"] == 12
    assert metrics["retained_accuracy"]["samples"] == 36


def test_evaluating_again_from_nothing_gives_the_same_numbers(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_evaluation(run)
    (run / "evaluation.json").unlink()
    monkeypatch.setenv("EFFACE_CACHE", "off")
    assert efface.evaluate(run).results == before.results


def test_a_run_is_measured_again_by_no_pass(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    assert_drawn_once(tmp_path / "run")
    (tmp_path / "run" / "evaluation.json").unlink()
    with counting_passes() as passes, without_store():
        efface.evaluate(tmp_path / "run")
    assert passes  # the counter counts


def test_damaged_sheets_are_drawn_again(run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    for name, damage in (("before.png", b"\x89PNG"), ("after.png", None), ("grid.json", b"{")):
        path = copied / "samples" / name
        path.unlink() if damage is None else path.write_bytes(damage)
        efface.evaluate(copied)
        assert path.read_bytes() == (run / "samples" / name).read_bytes(), name


def test_what_a_run_did_not_make_is_not_measured_as_its_own(
    run: Path, tiny_unet: Callable[..., Denoiser], tmp_path: Path
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)

    def refused(match: str) -> None:
        with pytest.raises(RequestError, match=match):
            efface.evaluate(copied)

    save_pipeline(tiny_unet(seed=9), tmp_path / "other")
    weights = "unet/diffusion_pytorch_model.safetensors"
    shutil.copy(tmp_path / "other" / weights, copied / "pipeline" / weights)
    refused("does not hold the weights that the run made")
    content = json.loads((copied / "record.json").read_text())
    for change, match in (
        ({"status": "running"}, "is not finished: complete it with --resume"),
        ({"request": {"kind": "train"}}, "of the kind 'train'"),
        ({"settings": {"method": {"name": "sfd"}, "judge": {}}}, "'judge'"),
    ):
        (copied / "record.json").write_text(json.dumps(content | change))
        refused(match)


def test_of_a_result_of_no_numbers_nothing_is_measured(
    run: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    file = broken / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.weight"][0] = torch.nan
    save_file(tensors, file, metadata={"format": "pt"})
    record = read_record(broken)
    hashes = {name: hash_weights(broken / "pipeline")[name] for name in record.output}
    write_json(broken / "record.json", record.model_copy(update={"output": hashes}))
    found = efface.evaluate(broken)
    assert (found.results, found.broken) == ([], True)
    assert judge_run(read_record(broken), found).answers["retain"] == "no"
    assert "nan" not in (broken / "evaluation.json").read_text().lower()
    sentence = fails("evaluate", run, "--set", "evaluate.guidance=1e38")
    assert "evaluate.guidance is 1e+38" in sentence


def test_evaluating_otherwise_samples_otherwise(run: Path) -> None:
    before = read_evaluation(run)
    changed = efface.evaluate(run, changes=["evaluate.baseline_steps=5"])
    assert "5 DDIM steps" in changed.results[0].protocol and changed.key != before.key
    terms = {"original model": "5 DDIM steps, guidance 1", "forgotten labels": "0, 3"}
    assert before.terms.items() - terms.items() <= changed.terms.items() | before.terms.items()
    assert terms.items() <= changed.terms.items() and changed.terms != before.terms
    fd, fid_before = changed.get("fd"), before.get("fd")
    assert fd is not None and fid_before is not None
    assert fd.baseline != fid_before.baseline and fd.value == fid_before.value
    assert efface.evaluate(run).results == before.results


def test_evaluating_against_a_changed_model_is_refused(
    small, tiny_unet: Callable[..., Denoiser], tmp_path: Path
) -> None:
    save_pipeline(tiny_unet(), tmp_path / "model")
    request = efface.ForgetClass(labels=(0,))
    out = efface.forget(tmp_path / "model", request, tmp_path / "out", changes=small, measure=False)
    save_pipeline(tiny_unet(seed=1), tmp_path / "model")
    with pytest.raises(RequestError, match="is no longer the model"):
        efface.evaluate(out)


def test_without_a_judge_the_pictures_are_drawn_and_nothing_is_claimed(
    small, tiny_unet: Callable[..., Denoiser], tmp_path: Path
) -> None:
    save_pipeline(tiny_unet(), tmp_path / "model")
    request = efface.ForgetClass(labels=(0,))
    out = efface.forget(tmp_path / "model", request, tmp_path / "out", changes=small)
    assert all(result.spec.likeness for result in read_evaluation(out).results)
    assert (out / "samples" / "after.png").exists()
    assert (out / "report.html").exists()


def test_other_real_images_behind_the_same_classifier_are_measured_again(
    run: Path, tiny_model: Path, tmp_path: Path
) -> None:
    before = read_evaluation(run)
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(tiny_model / "judge", tmp_path / "judge")
    reference = load_file(tmp_path / "judge" / "reference.safetensors")
    reference["features"] += 1
    save_file(reference, tmp_path / "judge" / "reference.safetensors")
    after = efface.evaluate(tmp_path / "run", judge=tmp_path / "judge")
    fd, fid_before = after.get("fd"), before.get("fd")
    assert fd is not None and fid_before is not None and fd.value != fid_before.value
    assert before.judge is not None and after.judge is not None
    differing = {key for key in before.judge if before.judge[key] != after.judge[key]}
    assert differing == {"reference_sha256"}


class Entry:
    """An entry point of another package."""

    def load(self) -> Metric:
        return Metric(
            spec=Spec(
                name="first_feature",
                label="First feature",
                meaning="mean of the classifier's first feature",
                unit="level",
                side="retain",
                better="more",
                role="primary",
                margin=Margin(value=0.1, relative=True),
            ),
            compute=lambda seen: mean(seen.features[:, 0]),
        )


def test_a_metric_of_another_package_needs_no_other_change(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Row, answer, verdict, axis and model card come from its Spec."""
    whole = shutil.copytree(run, tmp_path / "run")
    entry_points = importlib.metadata.entry_points

    def with_ours(**group: str) -> Any:
        return [Entry()] if group == {"group": "efface.metrics"} else entry_points(**group)

    monkeypatch.setattr(importlib.metadata, "entry_points", with_ours)
    evaluation = efface.evaluate(whole, changes=["evaluate.seed=77"])
    found = evaluation.get("first_feature")
    assert found is not None and found.difference is not None
    verdict = judge_run(read_record(whole), evaluation)
    assert found in [finding.result for finding in verdict.retained.found]
    told = " ".join(judgement.text for judgement in verdict.judgements)
    assert "first feature" in told.lower()
    for file in (whole / "report.html", whole / "pipeline" / "README.md"):
        assert "First feature" in file.read_text(encoding="utf-8"), file
    (base,) = compare([whole, run])
    assert "first_feature" in {row.key.spec.name for row in base.rows}
