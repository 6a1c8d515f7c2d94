"""What a request names on disk, and whole runs on tiny real pipelines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file

from efface.diffusion.model_folder import drawn_shape, inspect_model
from efface.errors import DataError, EffaceError, RequestError
from efface.records import read_record
from efface.requests import words_of
from efface.requests.base import Feed
from efface.requests.memorised.feed import CopyStopper
from efface.requests.memorised.material import MemorisedMaterial, read_memorised
from efface.requests.memorised.request import ForgetMemorised
from efface.runs.forget import forget
from efface.settings.base import Settings
from tests.text_pipelines import load_text

Pipelines = Callable[[str], Path]
MakeSettings = Callable[..., Settings]
MakeFeed = Callable[[Sequence[str]], Feed]


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
    assert material.captions[0].image is not None
    assert material.captions[0].image.shape == (3, 16, 16)
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


def test_control_prompts_are_those_of_the_column_that_is_given(
    pipelines: Pipelines, make_settings: MakeSettings, tmp_path: Path
) -> None:
    file = tmp_path / "controls.csv"
    rows = [f"a cat number {i},a bag number {i}" for i in range(59)]
    file.write_text("\n".join(["prompt,blip", *rows]))
    first = ForgetMemorised(prompt="a dog", control_prompts=str(file), caption_column="blip")
    second = ForgetMemorised(prompt="a red bag", earlier=(first,))
    for request in (first, second):
        material = read_memorised(request, inspect_model(pipelines("sd")), make_settings())
        assert set(material.controls) == {f"a bag number {i}" for i in range(59)}
    with pytest.raises(RequestError, match="column 'blip'.*no table of prompts"):
        ForgetMemorised(prompt="a red bag", caption_column="blip")


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


@pytest.fixture
def feed(
    pipelines: Pipelines, request_: ForgetMemorised, make_settings: MakeSettings, tmp_path: Path
) -> MakeFeed:
    """What a run in one folder is fed with, by its settings."""

    def make(changes: Sequence[str]) -> Feed:
        settings = make_settings(changes)
        material = read_memorised(request_, inspect_model(pipelines("sd")), settings)
        return material.feed(load_text(pipelines("sd")), settings, tmp_path, Accelerator())

    return make


def test_a_prompt_with_nothing_memorised_is_refused_unless_forced(
    feed: MakeFeed, small: tuple[str, ...]
) -> None:
    changes = [change for change in small if "copy_similarity" not in change]
    with pytest.raises(RequestError, match=r"nothing memorised.*memorised\.force"):
        feed([*changes, "memorised.force=false"])
    with pytest.raises(DataError, match="too small"):
        feed(changes)


def test_a_run_is_stopped_by_samples_of_both_prompts(
    feed: MakeFeed, small: tuple[str, ...], run: Path, tmp_path: Path
) -> None:
    """From other seeds than those of the figures; at the start there are copies."""
    shutil.copytree(run / "preparation", tmp_path / "preparation")
    stopper = feed([*small, "memorised.stop_images=6"]).stopper
    assert isinstance(stopper, CopyStopper)
    (caption,) = stopper.captions
    assert list(caption.prompts.values()) == ["a red bag", "a bag"] and len(stopper.seeds) == 6
    assert set(stopper.seeds).isdisjoint(range(1000, 1010))
    denoiser = feed(small).denoiser
    assert stopper.check(denoiser) is None
    other = replace(caption, detector=replace(caption.detector, threshold=1.1))
    never = replace(stopper, captions=[other])
    assert "none of 12 samples" in (never.check(denoiser) or "")


def test_a_run_goes_from_a_prompt_to_a_report(run: Path) -> None:
    record = read_record(run)
    assert record.status == "finished" and record.settings["method"]["name"] == "siss"
    assert record.material["digest"]
    notes = record.notes
    assert notes["copies"] + notes["others"] + notes["undecided"] == 16
    assert notes["modified_prompt"] == "a bag"
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
    assert len(kept) == 8
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
    """More than four fifths of its samples are copies, until a word is changed."""
    request = request_.model_copy(update={"modified_prompt": None})
    changes = [*small, "memorised.copy_similarity=0.4"]
    changes += ["memorised.samples=8", "evaluate.guidance=30.0"]
    out = forget(obedient, request, tmp_path / "run", changes=changes, measure=False)
    record = read_record(out)
    assert record.status == "finished"
    assert record.notes["prompts_tried"] > 1
    assert 0.2 <= record.notes["modified_share"] <= 0.8
    assert record.notes["copies"] >= 2 and record.notes["others"] >= 2
    first, *_, last = json.loads((out / "preparation" / "modification.json").read_text())["tried"]
    assert first["text"] == "a red bag" and first["copies"] > 0.8 * first["samples"]
    assert last["text"] == record.notes["modified_prompt"] != "a red bag"
    requested = words_of(record.request).phrases(record, {}).requested
    assert last["text"] in requested and "found by changing words" in requested


def test_the_command_line_takes_the_words_of_a_request(run: Path, controls: str) -> None:
    record = read_record(run)
    assert record.request == {
        "kind": "memorised",
        "prompt": "a red bag",
        "image": None,
        "modified_prompt": "a bag",
        "caption_column": None,
        "control_prompts": controls,
    }
    assert (record.status, record.steps) == ("finished", 2)
    assert {path.name for path in run.iterdir()} == {
        *("record.json", "metrics.jsonl", "preparation", "checkpoints", "pipeline"),
        *("evaluation.json", "report.html", "samples"),
    }
    assert (run / "pipeline" / "README.md").exists()
