"""The models of a run: at the size that was given, beside a retrained one of the same kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from efface import ForgetClass
from efface.cli import app
from efface.data.images import ImageSet
from efface.diffusion.loading import load, save_pipeline
from efface.diffusion.model_folder import drawn_shape, inspect_model
from efface.errors import ModelError, RequestError
from efface.evaluation.subjects import (
    Compared,
    check_retrained,
    name_labels,
    number_labels,
    read_judge,
    read_subjects,
)
from efface.metrics.judge import load_judge
from efface.records import RunRecord, read_evaluation, read_record, write_json
from efface.runs.forget import forget
from efface.runs.sample import sample
from efface.settings.evaluate import EvaluateSettings
from efface.zoo.build.classifier import fit_classifier
from efface.zoo.build.settings import ClassifierSettings
from tests.tiny import BAG, SMALL

Pipelines = Callable[[str], Path]
FIGURES = EvaluateSettings(baseline_steps=1)
ALONE = Compared(guidance=1.0, same_sampler=False)


@pytest.fixture(scope="module")
def run(pipelines: Pipelines, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sizes") / "run"
    return forget(pipelines("flux"), BAG, out, changes=SMALL, size=16, measure=False)


def told(*given: object) -> str:
    result = CliRunner().invoke(app, [str(part) for part in given])
    assert result.exit_code == 0, result.output
    return result.output


def options(changes: list[str]) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


def test_the_size_of_flux_is_given_in_pixels(pipelines: Pipelines) -> None:
    info = inspect_model(pipelines("flux"), size=24)
    assert (info.sample_size, info.size, drawn_shape(info)) == (12, 24, (3, 24, 24))
    assert load(info).sample_shape == (4, 12, 12)
    assert drawn_shape(inspect_model(pipelines("flux"))) == (3, 256, 256)
    assert inspect_model(pipelines("flux"), size=256) == inspect_model(pipelines("flux"))


@pytest.mark.parametrize("size", [0, -16, 2, 18, 17])
def test_pictures_that_do_not_fit_are_refused(pipelines: Pipelines, size: int) -> None:
    with pytest.raises(ModelError, match=f"{size} x {size} pixels do not fit .*multiple of 4"):
        inspect_model(pipelines("flux"), size=size)


@pytest.mark.parametrize("kind", ["sd", "sd3", "pixart_sigma"])
def test_models_that_name_their_size_refuse_another(pipelines: Pipelines, kind: str) -> None:
    assert inspect_model(pipelines(kind), size=16) == inspect_model(pipelines(kind))
    with pytest.raises(ModelError, match="32 x 32 pixels were asked for, and .* makes 16 x 16"):
        inspect_model(pipelines(kind), size=32)


def test_models_of_classes_refuse_another_size(tiny_model: Path, fails: Callable[..., str]) -> None:
    assert inspect_model(tiny_model, size=8) == inspect_model(tiny_model)
    assert "and zoo:digits makes 8 x 8: leave the size out" in fails(
        "preflight", "zoo:digits", "--size", 16
    )


def test_a_saved_model_remembers_its_size_and_can_be_asked_for_another(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    save_pipeline(load(inspect_model(pipelines("flux"), size=16)), tmp_path / "model")
    assert drawn_shape(inspect_model(tmp_path / "model")) == (3, 16, 16)
    info = inspect_model(tmp_path / "model", size=256)
    assert (info.size, drawn_shape(info)) == (256, (3, 256, 256))


def test_a_run_keeps_its_size_and_is_measured_with_it(run: Path) -> None:
    record = read_record(run)
    assert record.status == "finished" and record.model["size"] == 16
    subjects = read_subjects(run / "pipeline", record, FIGURES, ALONE)
    for subject in (subjects.original, subjects.result):
        assert subject.denoiser.sample_shape == (4, 8, 8)


def test_samples_of_another_size_are_other_samples(run: Path) -> None:
    """The files of the original model are the same, and what was kept of it is not."""
    record = read_record(run)
    larger = record.model_copy(update={"model": record.model | {"size": 24}})
    digests = {
        read_subjects(run / "pipeline", one, FIGURES, ALONE).original.digest
        for one in (record, larger, record)
    }
    assert len(digests) == 2


def test_a_run_is_resumed_with_its_own_size_alone(
    run: Path, pipelines: Pipelines, tmp_path: Path
) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    again = {"changes": SMALL, "resume": True, "measure": False}
    assert forget(pipelines("flux"), BAG, out, size=16, **again) == out
    for size in (None, 24):
        with pytest.raises(RequestError, match="holds another run: model.size"):
            forget(pipelines("flux"), BAG, out, size=size, **again)


def test_a_record_without_a_size_is_one_of_the_models_own(run: Path, tmp_path: Path) -> None:
    """As earlier versions wrote it: the 128 x 128 latents of the stock pipeline."""
    record = read_record(run)
    model = {name: value for name, value in record.model.items() if name != "size"}
    older: RunRecord = record.model_copy(update={"model": model})
    out = shutil.copytree(run, tmp_path / "run")
    write_json(out / "record.json", older)
    subjects = read_subjects(out / "pipeline", read_record(out), FIGURES, ALONE)
    assert subjects.original.denoiser.sample_shape == (4, 128, 128)


def test_a_retrained_model_draws_the_size_of_the_run(run: Path, pipelines: Pipelines) -> None:
    other = check_retrained(pipelines("flux"), inspect_model(pipelines("flux"), size=16))
    assert drawn_shape(other) == (3, 16, 16)
    subjects = read_subjects(
        run / "pipeline",
        read_record(run),
        FIGURES,
        Compared(guidance=1.0, same_sampler=False, retrained=pipelines("flux")),
    )
    assert subjects.retrained is not None
    assert subjects.retrained.denoiser.sample_shape == (4, 8, 8)
    assert subjects.retrained.digest == subjects.original.digest


@pytest.mark.parametrize(
    ("kind", "retrained", "sentence"),
    [
        ("pixart_alpha", "sd", "family sd and .* family pixart_alpha: give a retrained"),
        ("sd", "flux", "family flux and .* family sd"),
        ("sd", None, "no text-to-image model and .* family sd"),
    ],
)
def test_a_retrained_model_of_another_family_is_refused(
    pipelines: Pipelines, tiny_model: Path, kind: str, retrained: str | None, sentence: str
) -> None:
    other = tiny_model if retrained is None else pipelines(retrained)
    with pytest.raises(RequestError, match=sentence):
        check_retrained(other, inspect_model(pipelines(kind)))


def test_every_command_takes_a_size(
    run: Path, pipelines: Pipelines, tmp_path: Path, fails: Callable[..., str]
) -> None:
    flux, sheet = pipelines("flux"), tmp_path / "sheet"
    told("sample", flux, "--out", sheet, "--count", 1, "--steps", 1, "--size", 24)
    with Image.open(sheet / "00000.png") as picture:
        assert picture.size == (24, 24)
    bag = ("forget", "concept", flux, "--concept", "bag", "--replace", "coat")
    out = ("--out", tmp_path / "out")
    for command in (bag, ("forget", "memorised", flux, "--prompt", "a bag"), ("distil", flux)):
        assert "18 x 18 pixels do not fit" in fails(*command, *out, "--size", 18)
    start = (*out, *options(SMALL), "--start", run)
    assert "made with --size 16, and this run with --size left out" in fails(*bag, *start)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_begins_from_a_distilled_generator_of_its_size(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    flux, first, second = pipelines("flux"), tmp_path / "first", tmp_path / "second"
    told("distil", flux, "--out", first, "--size", 16, *options(SMALL), "--no-evaluate")
    assert read_record(first).model["size"] == 16
    bag = ("forget", "concept", flux, "--concept", "bag", "--replace", "coat", "--size", 16)
    told(*bag, "--start", first, "--out", second, *options(SMALL))
    assert drawn_shape(inspect_model(second)) == (3, 16, 16)
    assert json.loads((second / "samples" / "grid.json").read_text())["tile"] == 16


QUICK = ClassifierSettings(widths=(4, 4), epochs=1, batch_size=4, reference_images=40)
CLASSES = 4
NAMES = ("bag", "boot", "coat", "dress")


def judge_of(folder: Path, classes: int, names: tuple[str, ...] = ()) -> Path:
    """A classifier of so many labels."""
    images = torch.arange(classes).repeat_interleave(8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    given = ImageSet(
        images=(images * 40).byte(),
        labels=torch.arange(classes).repeat_interleave(8),
        label_names=names,
    )
    fit_classifier("four", given, given, QUICK).save(folder)
    return folder


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    root = tmp_path_factory.mktemp("judges")

    def made(classes: int, *names: str) -> Path:
        folder = root / f"{classes}-{'-'.join(names)}"
        return folder if folder.is_dir() else judge_of(folder, classes, names)

    return made


@pytest.fixture(scope="module")
def nameless(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of five class embeddings that says nothing of them."""
    torch.manual_seed(0)
    config = {**load(tiny_model).network.config, "num_class_embeds": CLASSES + 1}  # pyright: ignore
    network: Any = diffusers.UNet2DModel.from_config(config)
    folder = tmp_path_factory.mktemp("nameless") / "model"
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_a_classifier_of_other_labels_is_refused(
    classes: int, judges: Callable[..., Path], nameless: Path
) -> None:
    info = inspect_model(nameless)
    sentence = f"knows {classes} labels, and .* has 5: give one that was trained on the labels"
    with pytest.raises(RequestError, match=sentence):
        read_judge(name_labels(info, judges(classes)), judges(classes))


@pytest.mark.parametrize("null", [0, 2, 4, None])
def test_a_classifier_sees_the_labels_of_the_model(
    null: int | None,
    judges: Callable[..., Path],
    nameless: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = judges(CLASSES, *NAMES)
    info = name_labels(inspect_model(nameless, null), folder)
    assert ("label 4 is taken for the null label" in capsys.readouterr().err) == (null is None)
    assert info.null_label == (4 if null is None else null)
    assert info.names == dict(zip(info.labels, NAMES, strict=True))
    judge, plain = read_judge(info, folder), load_judge(folder)
    assert judge is not None
    assert set(judge.reference_labels) == set(info.labels)
    assert judge.names == info.names
    images = torch.rand(3, 1, 8, 8)
    seen = judge.observe(images, np.zeros(3)).probabilities
    own = plain.observe(images, np.zeros(3)).probabilities
    np.testing.assert_array_equal(seen[:, list(info.labels)], own)
    np.testing.assert_allclose(seen.sum(1), 1, atol=1e-6)
    assert number_labels(info, np.arange(CLASSES)).tolist() == list(info.labels)


def test_a_classifier_of_the_same_names_in_another_order_is_refused(
    judges: Callable[..., Path], nameless: Path
) -> None:
    info = name_labels(inspect_model(nameless, 4), judges(CLASSES, *NAMES))
    with pytest.raises(RequestError, match="label 0 is 'dress' to the classifier .* and 'bag' to"):
        read_judge(info, judges(CLASSES, *NAMES[::-1]))


@pytest.mark.parametrize("names", [("bag", "boot", "coat", "hat"), ("a", "b", "c", "d")])
def test_a_classifier_of_other_names_is_refused_and_another_case_is_not(
    names: tuple[str, ...], judges: Callable[..., Path], nameless: Path
) -> None:
    info = name_labels(inspect_model(nameless, 4), judges(CLASSES, *NAMES))
    with pytest.raises(RequestError, match="with the same names in"):
        read_judge(info, judges(CLASSES, *names))
    assert read_judge(info, judges(CLASSES, *(name.upper() for name in NAMES))) is not None


def test_names_go_from_a_classifier_into_record_model_and_report(
    judges: Callable[..., Path], nameless: Path, tmp_path: Path
) -> None:
    """The null label is row 0, and nothing but the classifier knows any names."""
    sizes = ("forget_samples=10", "retain_samples=12", "baseline_steps=2")
    changes = ["train.steps=1", "train.batch_size=4", "train.ignore_memory=true"]
    run = forget(
        nameless,
        ForgetClass(labels=("bag",), replacement=("dress",)),
        tmp_path / "run",
        judge=judges(CLASSES, *NAMES),
        null_label=0,
        changes=[*changes, *(f"evaluate.{size}" for size in sizes)],
    )
    record = read_record(run)
    assert record.request["labels"] == [1] and record.request["replacement"] == [4]
    assert record.model["id2label"] == {"1": "bag", "2": "boot", "3": "coat", "4": "dress"}
    assert (record.model["classes"], record.model["null_label"]) == (CLASSES, 0)
    made = inspect_model(run)
    assert (made.names, made.null_label) == ({1: "bag", 2: "boot", 3: "coat", 4: "dress"}, 0)
    grid = json.loads((run / "samples" / "grid.json").read_text())
    assert (grid["labels"], grid["names"]) == ([1, 2, 3, 4], ["bag", "boot", "coat", "dress"])
    evaluation = read_evaluation(run)
    assert evaluation.labels_seen is not None and evaluation.labels_seen.labels == [1, 2, 3, 4]
    assert all(row[0] == 0 for row in evaluation.labels_seen.shares["result"])
    assert "to forget class 1 (bag)" in (run / "report.html").read_text()
    assert sample(run, tmp_path / "images", labels=["boot"], count=2, steps=1) == 2
    assert (tmp_path / "images" / "label0002_00000.png").exists()
