"""Attacks on a run folder: which are made, what is written, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import efface
from efface.attacks import goals, names, resolve, weak
from efface.cli import app
from efface.data.images import load_images
from efface.data.split import Split
from efface.errors import ConfigError, EffaceError, RequestError
from efface.records import read_attacks, read_record
from efface.reporting import write_report
from efface.reporting.attack_words import tell_attack
from efface.reporting.resistance import find_resistance
from efface.requests.classes.material import ClassMaterial
from efface.requests.images.material import ImageMaterial
from efface.runs.attack import attack, choose, fitting
from tests.metrics.detectors import MULTI, make_random

TINY = ["partial_denoising.samples=4", "partial_denoising.sampling_steps=2"]


@pytest.fixture(autouse=True)
def _short_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weak, "SAMPLES", 4)
    monkeypatch.setattr(weak, "STEPS", 2)
    monkeypatch.setattr(weak, "ROWS", 4)
    monkeypatch.setattr(weak, "RATES", (1e-3,))
    monkeypatch.setattr(goals, "EXAMPLE_STEPS", 4)


@pytest.fixture(scope="module")
def run(tiny_model: Path, small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    request = efface.ForgetClass(labels=(0,), replacement=(1,))
    return efface.forget(tiny_model, request, out, changes=small, measure=False)


def test_all_attacks_are_chosen_unless_some_are():
    assert [one.name for one in choose([], [])] == names()
    assert [one.name for one in choose(["relearning", "relearning"], [])] == ["relearning"]


def test_settings_reach_their_attack():
    (relearning,) = choose(
        ["relearning"], ["relearning.images=[1, 8]", "relearning.learning_rates=[1e-3]"]
    )
    assert relearning == resolve("relearning")(images=(1, 8), learning_rates=(1e-3,))  # pyright: ignore


@pytest.mark.parametrize(
    ("chosen", "change", "complaint"),
    [
        (["relaern"], "", "attack 'relaern' is unknown: there is benign_fine_tuning"),
        (["relearning"], "relearning", "write SECTION.NAME=VALUE"),
        (["relearning"], "relearning=3", "write SECTION.NAME=VALUE"),
        (
            ["relearning"],
            "train.steps=3",
            "section 'train' with --set is unknown: there is benign_",
        ),
        (
            ["relearning"],
            "noise_search.samples=3",
            "add --attack noise_search, or leave it out",
        ),
        (["relearning"], "relearning.step=[3]", "Did you mean relearning.steps?"),
        (["relearning"], "relearning.steps=many", "relearning.steps is 'many'"),
        (["relearning"], "relearning.steps=[1.5]", "relearning.steps.0 is 1.5"),
        (["relearning"], "relearning.learning_rates=[nan]", "relearning.learning_rates.0 is nan"),
        (["relearning"], "relearning.steps=[3, 1]", "give rising numbers"),
    ],
)
def test_what_is_not_understood_is_said(chosen, change, complaint):
    with pytest.raises(ConfigError) as error:
        choose(chosen, [change] if change else [])
    assert complaint in str(error.value)


def test_only_fitting_attacks_are_run_and_others_refused_only_if_named():
    everything = choose([], [])
    labels = ClassMaterial(retain=(1, 2), replacements={0: ()})
    assert fitting(everything, labels, strict=True) == everything
    forget = load_images("digits", "test").select(torch.arange(2))
    images = ImageMaterial(split=Split(forget=forget), unseen=None, prior=None)
    of_images = {one.name for one in fitting(everything, images, strict=False)}
    assert "relearning" in of_images and "concept_inversion" not in of_images
    with pytest.raises(RequestError, match="'concept_inversion'"):
        fitting(choose(["concept_inversion"], []), images, strict=True)


def test_results_are_written_replaced_and_kept(run: Path):
    first = attack(run, ["partial_denoising"], changes=TINY)
    assert read_attacks(run) == first
    assert [r.attack for r in first.results] == ["partial_denoising"]
    assert set(first.output) == {"unet/diffusion_pytorch_model.safetensors"}
    assert first.judge is not None and first.judge["name"] == "tiny judge"
    search = ["noise_search.tries=[1, 2]", "noise_search.samples=3"]
    both = attack(run, ["noise_search"], changes=[*search, "noise_search.sampling_steps=2"])
    assert both.results[0] == first.results[0]
    again = attack(run, ["partial_denoising"], changes=["partial_denoising.samples=5", *TINY[1:]])
    assert [r.attack for r in again.results] == ["noise_search", "partial_denoising"]
    assert again.results[1].settings["samples"] == 5
    assert read_attacks(run) == again


def test_a_retrained_model_stands_beside_the_result(run: Path, tiny_model: Path):
    found = attack(run, ["partial_denoising"], changes=TINY, retrained=tiny_model)
    lines = found.results[-1].curve.lines
    assert lines["retrained"] == lines["baseline"]  # the original model was given
    assert found.results[-1].settings["retrained"] == str(tiny_model)
    with pytest.raises(RequestError, match="labels"):
        attack(run, ["partial_denoising"], retrained="zoo:digits-retrained")


def test_real_images_of_the_forgotten_label_are_used_where_they_are_given(
    run: Path, tmp_path: Path
):
    changes = ["images=[2]", "steps=[1]", "samples=4", "sampling_steps=2", "learning_rates=[1e-4]"]
    changes = [f"relearning.{change}" for change in changes]
    (found,) = attack(run, ["relearning"], reference="digits", changes=changes).results[-1:]
    assert found.examples == "real images" and "up to 2 real images" in found.curve.protocol
    assert found.settings["reference"] == "digits"
    (found,) = attack(run, ["relearning"], changes=changes).results[-1:]
    assert found.examples == "samples of the original model"
    only_heart = tmp_path / "heart"
    shutil.copytree(Path(weak.__file__).parents[1] / "zoo/symbol", only_heart)
    with pytest.raises(RequestError, match="no image with a label that was forgotten"):
        attack(run, ["relearning"], reference=str(only_heart), changes=changes)


def test_changed_weights_are_refused(run: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.copy(
        Path(weak.__file__).parents[1] / "zoo/digits/unet/diffusion_pytorch_model.safetensors",
        copy / "pipeline/unet/diffusion_pytorch_model.safetensors",
    )
    with pytest.raises(RequestError, match="does not hold the weights that the run made"):
        attack(copy, ["partial_denoising"])


def test_what_forgot_nothing_or_is_not_done_is_refused(run: Path, tmp_path: Path):
    record = json.loads((run / "record.json").read_text())
    for changes, complaint in (
        ({"request": {"kind": "train"}}, "of the kind 'train'"),
        ({"status": "running"}, "not finished"),
    ):
        (tmp_path / "record.json").write_text(json.dumps(record | changes))
        with pytest.raises(RequestError, match=complaint):
            attack(tmp_path)
    with pytest.raises(EffaceError, match="missing"):
        attack(tmp_path / "nothing")


def test_a_class_without_a_judge_is_refused(run: Path, tmp_path: Path, tiny_model: Path):
    model, copy = tmp_path / "model", tmp_path / "run"
    shutil.copytree(tiny_model, model)
    shutil.rmtree(model / "judge")
    shutil.copytree(run, copy)
    record = json.loads((copy / "record.json").read_text())
    record["model"]["source"] = str(model)
    (copy / "record.json").write_text(json.dumps(record))
    with pytest.raises(RequestError, match="give it with --judge"):
        attack(copy, ["partial_denoising"])


def test_a_concept_is_attacked_with_the_detector_that_is_given(
    concept_runs: Callable[[str], Path], tmp_path: Path
):
    run = tmp_path / "run"
    shutil.copytree(concept_runs("sd"), run)
    with pytest.raises(ConfigError, match="evaluate.detector"):
        attack(run, ["partial_denoising"])
    folder = make_random(tmp_path / "detector", MULTI)
    looks = [f"evaluate.detector={str(folder)!r}", 'evaluate.detector_labels=["bag"]']
    settings = [argument for change in (*looks, *TINY) for argument in ("--set", change)]
    done = CliRunner().invoke(app, ["attack", str(run), "--attack", "partial_denoising", *settings])
    found = read_attacks(run)
    assert done.exit_code == 0 and found is not None, done.output
    (finding,) = find_resistance(read_record(run), found).findings
    assert f"partial_denoising: {tell_attack(finding)}" in done.output
    assert found.judge is not None and "bag above 0.5" in found.judge["name"]
    (result,) = found.results
    assert result.curve.x_label == "share of the schedule that is skipped"
    assert [p.x for p in result.curve.lines["result"]] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    page = write_report([run], run / "report.html").read_text()
    assert "partial denoising" in page.lower()
