"""Requests to forget a memorised picture: what is read, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from efface.diffusion.model_folder import drawn_shape, inspect_model
from efface.errors import ConfigError, DataError, EffaceError, RequestError
from efface.requests.base import ForgetMemorised
from efface.requests.memorised.feed import (
    MemorisedInputs,
    check_memorised_settings,
    read_memorised,
)
from efface.runs.forget import forget
from efface.settings.reading import read_settings
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.diffusion.text.conftest import text_model as text_model
from tests.metrics.test_clip import folder as clip_folder  # noqa: F401
from tests.requests.memorised.conftest import drawing as drawing
from tests.requests.memorised.conftest import memorising as memorising
from tests.requests.memorised.test_runs import LOOSE, SMALL
from tests.requests.memorised.test_runs import controls as controls
from tests.requests.memorised.test_runs import request_ as request_

# The student equals its teacher in all rows, and no row of four stays for the noise's sake.
STANDSTILL = ["method.retain_target=teacher", "method.alone_target=noise"]
STANDSTILL += ["memorised.control_share=0"]
DETECTED = ["evaluate.detector=nowhere", 'evaluate.detector_labels=["bag"]']
Pipelines = Callable[[str], Path]


def test_a_prompt_with_nothing_memorised_is_refused_unless_forced(
    pipelines: Pipelines, request_: ForgetMemorised, tmp_path: Path
) -> None:
    changes = [change for change in SMALL if "copy_similarity" not in change]
    changes = [*changes, "memorised.force=false"]
    with pytest.raises(RequestError, match="nothing memorised was found for this prompt"):
        forget(pipelines("sd"), request_, tmp_path / "out", changes=changes)
    forced = [*changes, "memorised.force=true", 'memorised.split="similarity"']
    with pytest.raises(DataError, match="leaves one side too small"):
        forget(pipelines("sd"), request_, tmp_path / "forced", changes=forced)


def save(folder: Path, *sizes: int) -> str:
    folder.mkdir()
    for number, size in enumerate(sizes):
        Image.new("RGB", (size, size), (9 * number, 5, 5)).save(folder / f"{number}.png")
    return str(folder)


@pytest.mark.parametrize(
    ("update", "changes", "kind", "sentence"),
    [
        ({"prompt": "a bag"}, [], RequestError, "as its own modification"),
        ({"prompt": " ..."}, [], RequestError, "has no words"),
        ({"prompt": "far too long a prompt to be read"}, [], RequestError, "reads at most 16"),
        ({"control_prompts": None}, ['prompts.subjects=["a"]'], RequestError, "59 are needed"),
        ({"picture": (32,)}, [], DataError, "images.resize=true"),
        ({"picture": (16, 16)}, [], DataError, "holds 2 pictures"),
        ({}, ["method.name=sfd"], ConfigError, "does not forget pictures"),
        ({}, ["method.name=posterior_subtraction"], ConfigError, "original_share=0"),
        ({}, STANDSTILL, ConfigError, "never begins here: the student equals its teacher"),
        ({}, [*STANDSTILL[:-1], "memorised.control_share=0.2"], ConfigError, "never begins"),
        ({}, ["train.stop_by=likelihood"], ConfigError, "stops where its prompts draw it no more"),
        ({}, ["memorised.stop_images=0"], ConfigError, "stop_images is 0"),
        ({}, ["memorised.search=[]"], ConfigError, "name a way, and words"),
        ({}, ["memorised.extractor=nowhere"], DataError, "no vision model at nowhere"),
        ({}, ["train.accumulation=3"], ConfigError, "cannot share equally"),
        ({}, ["memorised.controls=9"], ConfigError, "at least 59"),
        ({}, DETECTED, ConfigError, "detector is for classes and concepts, and this run forgets a"),
        ({}, ["evaluate.clip=c", "evaluate.prompt_groups=g"], ConfigError, "prompt_groups is for"),
        ({}, ["evaluate.distilled=nowhere"], ConfigError, "evaluate.distilled is for classes"),
    ],
)
def test_requests_that_cannot_be(
    update: dict[str, Any],
    changes: list[str],
    kind: type[EffaceError],
    sentence: str,
    pipelines: Pipelines,
    request_: ForgetMemorised,
    tmp_path: Path,
) -> None:
    if "picture" in update:
        update = {"picture": save(tmp_path / "pictures", *update["picture"])}
    named = next((c.split("=")[1] for c in changes if c.startswith("method.name")), None)
    rest = [c for c in changes if not c.startswith("method.name")]
    request = request_.model_copy(update=update)
    with pytest.raises(kind, match=sentence):
        small = [change for change in SMALL if not (named and change.startswith("method."))]
        forget(pipelines("sd"), request, tmp_path / "out", method=named, changes=[*small, *rest])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        ["method.alone_target=teacher", "memorised.control_share=0.25"],
        ["method.retain_target=teacher", "memorised.control_share=0.25"],
        [*STANDSTILL, "method.rule_name=fixed_norm"],
        [*STANDSTILL, "method.rule_name=dual"],
    ],
)
def test_a_teacher_is_no_standstill_beside_rows_or_a_rule_of_another_kind(
    changes: list[str],
) -> None:
    check_memorised_settings(read_settings("siss", None, ["train.batch_size=4", *changes]))


def test_a_model_that_takes_no_prompts_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="takes no prompts"):
        forget(tiny_model, LOOSE, tmp_path / "out")


def test_the_picture_has_the_size_that_the_model_draws(
    pipelines: Pipelines, request_: ForgetMemorised, tmp_path: Path
) -> None:
    for kind in ("sd", "sd3"):
        assert drawn_shape(inspect_model(pipelines(kind))) == (3, 16, 16)
    picture = save(tmp_path / "picture", 16)
    request = request_.model_copy(update={"picture": picture})
    settings = read_settings("siss", None, SMALL)
    inputs = read_memorised(request, inspect_model(pipelines("sd")), settings)
    assert inputs.picture is not None and inputs.picture.shape == (3, 16, 16)
    assert len(inputs.controls) == 59 and "a red  BAG" not in inputs.controls
    other = inputs.complete(request).digest
    assert other != read_memorised(request_, inspect_model(pipelines("sd")), settings).digest


def test_the_rest_is_measured_on_prompts_that_training_never_saw(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    settings, info = read_settings("siss", None, SMALL), inspect_model(pipelines("sd"))

    def read(count: int) -> MemorisedInputs:
        given = [f"a bag number {i}" for i in range(count)]
        (tmp_path / "controls.txt").write_text("\n".join([*given, *given[:9]]))  # some twice
        request = LOOSE.model_copy(update={"control_prompts": str(tmp_path / "controls.txt")})
        return read_memorised(request, info, settings)

    enough = read(118)
    assert len(enough.controls) == 59 and enough.held_out
    asked = enough.elsewhere(40)
    assert len(set(asked)) == 40 and not set(asked) & set(enough.controls)
    assert len(enough.elsewhere(400)) == 59
    few = read(117)
    assert not few.held_out and few.elsewhere(400) == few.controls
    assert few.digest != enough.digest
    with pytest.raises(RequestError, match="58 different control prompts and 59"):
        read(58)
