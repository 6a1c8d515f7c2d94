"""A user's own classifier as judge, from the request to the verification."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

import efface
from efface.evaluation.wording import SPACE
from efface.evidence.pack import pack
from efface.evidence.verify import verify
from efface.metrics.judge import load_judge
from efface.records import read_evaluation, read_record
from efface.runs.attack import attack
from tests.metrics.own_classifiers import make_onnx, make_vit

SMALL = ["train.steps=2", "train.batch_size=8", "method.forget_share=0.5", "train.guard_every=0"]
SMALL += ["evaluate.forget_samples=20", "evaluate.retain_samples=27", "evaluate.baseline_steps=2"]
SMALL += ["evaluate.guidance=1.0"]
SEARCH = ["noise_search.samples=2", "noise_search.tries=[1]", "noise_search.sampling_steps=2"]


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_vit(tmp_path_factory.mktemp("own") / "own-vit", fitted=True)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some digits in folders that have the names of the classifier's labels."""
    folder, digits = tmp_path_factory.mktemp("real") / "digits", load_digits()
    for i in range(200):
        place = folder / f"digit {digits.target[i]}"
        place.mkdir(parents=True, exist_ok=True)
        levels = (digits.images[i] / 16 * 255).round().astype("uint8")
        Image.fromarray(levels).save(place / f"{i:03}.png")
    return folder


@pytest.fixture(scope="module")
def run(vit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the name of a label that the classifier alone knows."""
    return forget(tmp_path_factory.mktemp("runs") / "run", vit)


def forget(out: Path, vit: Path, *changes: str) -> Path:
    request = efface.ForgetClass(labels=("digit 0",), replacement=("digit 1",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFACE_CACHE", "off")
        return efface.forget("zoo:digits", request, out, changes=[*SMALL, *changes], judge=vit)


def report_of(run: Path) -> str:
    return (run / "report.html").read_text().replace(SPACE, " ").replace("&nbsp;", " ")


def test_a_run_is_judged_by_it_and_states_no_accuracy(run: Path, vit: Path) -> None:
    evaluation, judge = read_evaluation(run), load_judge(vit)
    assert read_record(run).model["id2label"]["0"] == "digit 0"
    assert evaluation.judge is not None and evaluation.judge["sha256"] == judge.digest
    assert evaluation.judge["name"] == "own-vit" and evaluation.judge["held_out_accuracy"] is None
    assert json.loads((run / "evaluation.json").read_text())["judge"]["held_out_accuracy"] is None
    seen = {r.metric for r in evaluation.results if r.extractor == evaluation.results[0].extractor}
    assert {"class_rate", "unlearning_accuracy", "retained_accuracy", "leakage"} <= seen
    assert not {"fd", "recall", "nearest_classes"} & seen  # there is nothing to compare with
    assert "whose accuracy is not stated" in report_of(run)
    card = (run / "pipeline" / "README.md").read_text()
    assert "own-vit" in card and "is not stated" in card


def test_it_sees_most_digits_of_the_original_model(run: Path) -> None:
    rate = read_evaluation(run).get("class_rate")
    assert rate is not None and rate.baseline.value > 0.5


def test_real_images_give_it_features_and_an_accuracy(
    vit: Path, real: Path, tmp_path: Path
) -> None:
    run = forget(tmp_path / "run", vit, f"evaluate.reference={real}")
    evaluation = read_evaluation(run)
    judge = evaluation.judge
    assert judge is not None and judge["held_out_accuracy"] is None
    low, high = judge["reference_interval"]
    assert 0.7 < low < judge["reference_accuracy"] < high and judge["reference_images"] == 200
    own = [r.metric for r in evaluation.results if (r.extractor or {})["sha256"] == judge["sha256"]]
    assert {"fd", "recall", "nearest_classes"} <= set(own)
    assert "of 200 given real images" in report_of(run) and "95 % interval" in report_of(run)

    pack([run], tmp_path / "pack.zip")
    model = run / "pipeline"
    checks = verify(tmp_path / "pack.zip", model, judge=vit).checks
    assert [check.subject for check in checks if not (check.good and check.looked)] == ["training"]

    real.rename(real.with_name("elsewhere"))
    try:
        checks = verify(tmp_path / "pack.zip", model, judge=vit).checks
    finally:
        real.with_name("elsewhere").rename(real)
    assert all(check.good for check in checks), [c for c in checks if not c.good]
    looked = {check.subject for check in checks if check.looked}
    assert "class_rate" in looked and "fd" not in looked
    assert any("not on this machine" in check.text for check in checks if not check.looked)


def test_a_verification_without_it_checks_none_of_its_figures(run: Path, tmp_path: Path) -> None:
    pack([run], tmp_path / "pack.zip")
    checks = verify(tmp_path / "pack.zip", run / "pipeline").checks
    (named,) = (check for check in checks if check.subject == "class_rate")
    assert not named.looked and "--judge" in named.text


def test_an_attack_is_judged_by_it(run: Path, vit: Path) -> None:
    found = attack(run, ["noise_search"], judge=vit, changes=SEARCH)
    assert found.judge is not None and found.judge["name"] == "own-vit"


@pytest.mark.parametrize("classes", [9, 11])
def test_an_onnx_file_of_another_number_of_labels_is_refused_before_a_run(
    fails: Callable[..., str], tmp_path: Path, classes: int
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    make_onnx(tmp_path / "own.onnx", classes)
    out = ("--out", tmp_path / "out", "--judge", tmp_path / "own.onnx")
    sentence = fails("forget", "class", "zoo:digits", "--label", 0, *out)
    assert f"knows {classes} labels, and zoo:digits has 10" in " ".join(sentence.split())
    assert not (tmp_path / "out").exists()


def test_an_onnx_file_judges_a_run(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    make_onnx(tmp_path / "own.onnx", 10, labels=[f"Digit {i}" for i in range(10)])
    evaluation = efface.evaluate(run, judge=tmp_path / "own.onnx")
    assert evaluation.judge is not None and evaluation.judge["name"] == "own"
    assert len(evaluation.judge["sha256"]) == 64
