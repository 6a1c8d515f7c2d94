"""The models of a run: at the size that was given, beside a retrained one of the same kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from efface.cli import app
from efface.diffusion.loading import load, save_pipeline
from efface.diffusion.model_folder import drawn_shape, inspect_model
from efface.errors import ModelError, RequestError
from efface.evaluation.subjects import Compared, check_retrained, read_subjects
from efface.records import RunRecord, read_record, write_json
from efface.runs.forget import forget
from efface.settings.evaluate import EvaluateSettings
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
        with pytest.raises(RequestError, match="holds a run with another model"):
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
