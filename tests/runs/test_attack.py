"""Attacks on a run folder: which are made, what is written, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import efface
from efface.attacks import names, resolve, weak
from efface.attacks.base import Findings, costs_of
from efface.errors import ConfigError, EffaceError, RequestError
from efface.metrics.intervals import Estimate
from efface.records import AttackResult, Attacks, Curve, Point, SelfTest, read_attacks
from efface.reporting import write_report
from efface.requests.classes.material import ClassMaterial
from efface.runs.attack import attack, choose, fitting, summarise
from tests.metrics.detectors import MULTI, make_random

TINY = ["neighbour_leak.samples=4", "neighbour_leak.sampling_steps=2"]


@pytest.fixture(scope="module")
def run(tiny_model: Path, small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    request = efface.ForgetClass(labels=(0,), replacement=(1,))
    return efface.forget(tiny_model, request, out, changes=small, measure=False)


def test_all_attacks_are_chosen_unless_some_are():
    assert [one.name for one in choose([], [])] == names()
    assert [one.name for one in choose(["relearn", "relearn"], [])] == ["relearn"]


def test_settings_reach_their_attack():
    (relearn,) = choose(["relearn"], ["relearn.images=[1, 8]", "relearn.learning_rate=1e-3"])
    assert relearn == resolve("relearn")(images=(1, 8), learning_rate=1e-3)  # pyright: ignore


@pytest.mark.parametrize(
    ("chosen", "change", "complaint"),
    [
        (["relaern"], "", "attack 'relaern' is unknown: there is benign_finetune"),
        (["relearn"], "relearn", "write SECTION.NAME=VALUE"),
        (["relearn"], "relearn=3", "write SECTION.NAME=VALUE"),
        (["relearn"], "train.steps=3", "section 'train' with --set is unknown: there is benign_"),
        (["relearn"], "membership.draws=3", "add --attack membership, or leave it out"),
        (["relearn"], "relearn.step=[3]", "Did you mean relearn.steps?"),
        (["relearn"], "relearn.steps=many", "relearn.steps is 'many'"),
        (["relearn"], "relearn.steps=[1.5]", "relearn.steps.0 is 1.5"),
        (["relearn"], "relearn.learning_rate=nan", "give a finite number"),
        (["relearn"], "relearn.steps=[3, 1]", "give rising numbers"),
    ],
)
def test_what_is_not_understood_is_said(chosen, change, complaint):
    with pytest.raises(ConfigError) as error:
        choose(chosen, [change] if change else [])
    assert complaint in str(error.value)


def test_only_fitting_attacks_are_run_and_others_refused_only_if_named():
    everything = choose([], [])
    labels = ClassMaterial(forget=(0,), retain=(1, 2), replacement=())
    of_class = {one.name for one in fitting(everything, labels, strict=False)}
    assert "condition_inversion" in of_class and "membership" not in of_class
    with pytest.raises(RequestError, match="'membership'"):
        fitting(choose(["membership"], []), labels, strict=True)


def test_results_are_written_replaced_and_kept(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weak, "SAMPLES", 4)
    monkeypatch.setattr(weak, "RATES", (1e-3,))
    first = attack(run, ["neighbour_leak"], changes=TINY)
    assert read_attacks(run) == first
    assert [r.attack for r in first.results] == ["neighbour_leak"]
    assert set(first.output) == {"unet/diffusion_pytorch_model.safetensors"}
    assert first.judge is not None and first.judge["name"] == "tiny judge"
    search = ["latent_search.tries=[1, 2]", "latent_search.samples=3"]
    both = attack(run, ["latent_search"], changes=[*search, "latent_search.sampling_steps=2"])
    assert both.results[0] == first.results[0]
    again = attack(run, ["neighbour_leak"], changes=["neighbour_leak.samples=5", *TINY[1:]])
    assert [r.attack for r in again.results] == ["latent_search", "neighbour_leak"]
    assert again.results[1].settings["samples"] == 5
    assert read_attacks(run) == again


def test_a_retrained_model_stands_beside_the_result(run: Path, tiny_model: Path):
    found = attack(run, ["neighbour_leak"], changes=TINY, retrained=tiny_model)
    lines = found.results[-1].curve.lines
    assert lines["retrained"] == lines["baseline"]  # the original model was given
    assert found.results[-1].settings["retrained"] == str(tiny_model)
    with pytest.raises(RequestError, match="labels"):
        attack(run, ["neighbour_leak"], retrained="zoo:digits-retrained")


def test_changed_weights_are_refused(run: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.copy(
        Path(weak.__file__).parents[1] / "zoo/digits/unet/diffusion_pytorch_model.safetensors",
        copy / "pipeline/unet/diffusion_pytorch_model.safetensors",
    )
    with pytest.raises(RequestError, match="does not hold the weights that the run made"):
        attack(copy, ["neighbour_leak"])


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
        attack(copy, ["neighbour_leak"])


def test_a_concept_is_attacked_with_the_detector_that_is_given(
    concept_runs: Callable[[str], Path], tmp_path: Path
):
    run = tmp_path / "run"
    shutil.copytree(concept_runs("sd"), run)
    with pytest.raises(RequestError, match="evaluate.detector"):
        attack(run, ["neighbour_leak"])
    with pytest.raises(RequestError, match="'membership'"):
        attack(run, ["membership"])
    folder = make_random(tmp_path / "detector", MULTI)
    looks = [f"evaluate.detector={str(folder)!r}", 'evaluate.detector_labels=["bag"]']
    found = attack(run, ["neighbour_leak"], changes=[*looks, *TINY])
    assert found.judge is not None and "bag above 0.5" in found.judge["name"]
    (result,) = found.results
    assert result.curve.x_label == "retained prompt"
    assert [p.x for p in result.curve.lines["result"]] == [1, 2, 3]
    assert read_attacks(run) == found
    page = write_report([run], run / "report.html").read_text()
    assert "neighbour" in page.lower()


def test_the_table_says_cost_recovery_and_void():
    points = [Point(x=x, value=y, low=y, high=y) for x, y in ((0, 0.0), (10, 0.8))]
    one = Estimate(1.0, 1.0, 1.0)
    findings = Findings(
        x_label="steps", lines={}, level=one, floor=Estimate(0, 0, 0), protocol="", images={}
    )
    result = AttackResult(
        attack="relearn",
        title="Relearning",
        summary="what is done",
        curve=Curve(
            name="relearn",
            x_label="steps",
            y_label="",
            lines={"result": points, "result_multi_step": points, "baseline": points},
            protocol="",
        ),
        level=1,
        floor=0,
        costs={name: costs_of(points, findings, 4) for name in ("result", "result_multi_step")},
        self_tests=[SelfTest(subject="a knowingly weak erasure", passed=False, text="")],
        settings={},
        seeds=[0],
        seconds=1,
    )
    rows = summarise(Attacks(output={}, results=[result]))
    assert [row[0] for row in rows] == ["relearn", "relearn (multi step)"]
    assert rows[0][1:4] == (
        "6.25 steps, 4 images",
        "not within the budget",
        "80.0% (80.0% to 80.0%)",
    )
    assert rows[0][4] == "inconclusive: fails on a knowingly weak erasure"
