"""What a request names on disk, and whole runs on tiny real pipelines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from efface.cli import app
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.model_folder import drawn_shape, inspect_model
from efface.errors import DataError, EffaceError, RequestError
from efface.records import read_evaluation, read_record
from efface.requests.memorised.material import MemorisedMaterial, read_memorised
from efface.requests.memorised.request import ForgetMemorised
from efface.requests.memorised.stopping import CopyStopper
from efface.runs.forget import forget
from efface.settings.base import Settings

Pipelines = Callable[[str], Path]
MakeSettings = Callable[..., Settings]


def save(folder: Path, *sizes: int) -> str:
    folder.mkdir()
    for number, size in enumerate(sizes):
        Image.new("RGB", (size, size), (9 * number, 5, 5)).save(folder / f"{number}.png")
    return str(folder)


@pytest.mark.parametrize("size", [16, 40])
def test_an_image_is_brought_to_the_size_of_the_model(
    pipelines: Pipelines,
    request_: ForgetMemorised,
    make_settings: MakeSettings,
    tmp_path: Path,
    size: int,
) -> None:
    for kind in ("sd", "sd3"):
        assert drawn_shape(inspect_model(pipelines(kind))) == (3, 16, 16)
    request = request_.model_copy(update={"image": save(tmp_path / "image", size)})
    model, settings = inspect_model(pipelines("sd")), make_settings()
    material = read_memorised(request, model, settings)
    assert material.image is not None and material.image.shape == (3, 16, 16)
    assert len(material.controls) == 59 and "a red  BAG" not in material.controls
    assert material.recorded() == {"digest": material.digest, "control_prompts_too_long": 0}
    assert material.digest != read_memorised(request_, model, settings).digest


@pytest.mark.parametrize(
    ("update", "changes", "kind", "named"),
    [
        ({"prompt": "far too long a prompt to be read"}, [], RequestError, "at most 16"),
        ({"image": (16, 16)}, [], DataError, "2 images"),
        ({"control_prompts": None}, ["memorised.controls=1000"], RequestError, "--control-prompts"),
        ({}, ["memorised.extractor=nowhere"], DataError, "nowhere"),
    ],
)
def test_what_cannot_be_used_is_refused(
    update: dict[str, Any],
    changes: list[str],
    kind: type[EffaceError],
    named: str,
    pipelines: Pipelines,
    request_: ForgetMemorised,
    make_settings: MakeSettings,
    tmp_path: Path,
) -> None:
    if "image" in update:
        update = {"image": save(tmp_path / "images", *update["image"])}
    request = request_.model_copy(update=update)
    with pytest.raises(kind, match=named):
        read_memorised(request, inspect_model(pipelines("sd")), make_settings(changes))


def test_what_else_is_generated_is_measured_on_prompts_that_training_does_not_use(
    pipelines: Pipelines, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings, model = make_settings(), inspect_model(pipelines("sd"))
    file = tmp_path / "controls.txt"

    def read(count: int) -> MemorisedMaterial:
        given = [f"a bag number {i}" for i in range(count)]
        file.write_text("\n".join([*given, *given[:9]]))  # some twice
        request = ForgetMemorised(prompt="a red bag", control_prompts=str(file))
        return read_memorised(request, model, settings)

    enough = read(118)
    assert len(enough.controls) == 59 and enough.held_out
    measured = enough.measured_prompts(40)
    assert len(set(measured)) == 40 and not set(measured) & set(enough.controls)
    assert len(enough.measured_prompts(400)) == 59
    few = read(117)
    assert not few.held_out and few.measured_prompts(400) == few.controls
    assert few.digest != enough.digest
    with pytest.raises(RequestError, match="58 different control prompts and 59"):
        read(58)
    given = [f"a bag {i}" for i in range(118)]
    file.write_text("\n".join([*given, "a bag that is much too long", *given[:2]]))
    request = ForgetMemorised(prompt="a red bag", control_prompts=str(file))
    material = read_memorised(request, model, settings)
    assert (*sorted((*material.controls, *material.others)),) == (*sorted(given),)
    assert material.recorded()["control_prompts_too_long"] == 1


def test_a_prompt_with_nothing_memorised_is_refused_unless_forced(
    pipelines: Pipelines, request_: ForgetMemorised, small: tuple[str, ...], tmp_path: Path
) -> None:
    changes = [change for change in small if "copy_similarity" not in change]
    with pytest.raises(RequestError, match=r"nothing memorised.*memorised\.force"):
        forget(
            pipelines("sd"),
            request_,
            tmp_path / "out",
            changes=[*changes, "memorised.force=false"],
        )
    with pytest.raises(DataError, match="too small"):
        forget(pipelines("sd"), request_, tmp_path / "forced", changes=changes)


def test_a_run_goes_from_a_prompt_to_a_report(run: Path) -> None:
    record = read_record(run)
    assert record.status == "finished" and record.settings["method"]["name"] == "siss"
    assert record.material["digest"]
    notes = record.notes
    assert notes["copies"] + notes["others"] + notes["undecided"] == 16
    assert notes["modified_by"] == "given" and notes["modified_prompt"] == "a bag"
    changed = {k for k, v in record.output.items() if v != record.model["weights"][k]}
    assert {name.split("/")[0] for name in changed} == {"unet"}
    for name in ("detection", "copies", "others"):
        assert (run / "preparation" / f"{name}.png").exists()
    assert "a red bag" in (run / "report.html").read_text()


def test_a_resumed_run_repeats_no_stage_and_is_the_same_bit_for_bit(
    run: Path,
    pipelines: Pipelines,
    request_: ForgetMemorised,
    small: tuple[str, ...],
    tmp_path: Path,
) -> None:
    def stop(step: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        forget(pipelines("sd"), request_, out, changes=small, on_step=stop)
    kept = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (out / "preparation").iterdir()}
    assert len(kept) >= 10
    forget(pipelines("sd"), request_, out, changes=small, resume=True, measure=False)
    for path, (moment, content) in kept.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (moment, content), path
    for path in (run / "preparation").iterdir():
        assert path.read_bytes() == (out / "preparation" / path.name).read_bytes(), path
    one, other = (
        load_file(folder / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")
        for folder in (run, out)
    )
    assert all(tensor.equal(other[name]) for name, tensor in one.items())


def test_a_whole_run_searches_for_the_modified_prompt_itself(
    obedient: Path, request_: ForgetMemorised, small: tuple[str, ...], tmp_path: Path
) -> None:
    """Of 16 samples 15 are copies with the prompt itself, and 8 after one descent."""
    request = request_.model_copy(update={"modified_prompt": None})
    changes = [*small, "memorised.copy_similarity=0.4", 'memorised.search=["embedding"]']
    changes += ["memorised.samples=16", "evaluate.guidance=30.0"]
    out = forget(obedient, request, tmp_path / "run", changes=changes)
    record = read_record(out)
    assert record.status == "finished"
    assert record.notes["modified_by"] == "embedding" and record.notes["prompts_tried"] > 1
    assert 0.2 <= record.notes["modified_share"] <= 0.8
    assert record.notes["copies"] >= 2 and record.notes["others"] >= 2
    found = json.loads((out / "preparation" / "modification.json").read_text())
    assert found["tried"][0]["way"] == "unchanged" and found["tried"][0]["share"] > 0.8
    assert read_evaluation(out).get("memorised_share_modified") is not None
    embedding = record.notes["modified_prompt"]
    assert "no prompt has" in embedding and embedding in (out / "report.html").read_text()


def test_a_run_stops_where_its_stopper_says_so(
    pipelines: Pipelines,
    request_: ForgetMemorised,
    small: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Random weights generate copies or not by chance: the real stopper's answer is replaced."""
    answers: list[str | None] = []
    check = CopyStopper.check

    def answer(stopper: CopyStopper, student: Denoiser) -> str | None:
        assert len(stopper.prompts) == 2 and len(stopper.seeds) == 3
        answers.append(check(stopper, student))
        return "enough" if len(answers) == 3 else None

    monkeypatch.setattr(CopyStopper, "check", answer)
    changes = [*small, "train.steps=9", "train.stop_every=2", "memorised.stop_images=3"]
    out = forget(pipelines("sd"), request_, tmp_path / "run", changes=changes, measure=False)
    record = read_record(out)
    assert record.steps == 4 and "enough" in (record.stopped or "")
    assert len(answers) == 3


def test_the_command_line_takes_the_words_of_a_request(
    pipelines: Pipelines, controls: str, small: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["--prompt", "a red bag", "--modified-prompt", "a bag", "--control-prompts", controls]
    changes = [part for change in small for part in ("--set", change)]
    done = CliRunner().invoke(
        app,
        ["forget", "memorised", str(pipelines("sd")), "--out", str(out), "--no-evaluate"]
        + [*words, *changes],
    )
    assert done.exit_code == 0, done.output
    record = read_record(out)
    assert record.request == {
        "kind": "memorised",
        "prompt": "a red bag",
        "image": None,
        "modified_prompt": "a bag",
        "control_prompts": controls,
    }
    assert (record.status, record.steps) == ("finished", 2)
    assert {path.name for path in out.iterdir()} == {
        *("record.json", "metrics.jsonl", "preparation", "checkpoints", "pipeline"),
    }
    assert (out / "pipeline" / "README.md").exists()
