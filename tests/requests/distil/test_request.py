"""Which models can be distilled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.errors import DataError, RequestError
from efface.requests import read_request
from efface.requests.concept.material import PromptMaterial
from efface.requests.distil.request import Distil
from efface.settings.base import read_settings

SETTINGS = read_settings(Distil.section, Distil.own)


def test_models_with_labels_or_prompts_can_be_distilled(
    tiny_model: Path, pipelines: Callable[[str], Path]
) -> None:
    Distil().check(inspect_model(tiny_model), SETTINGS)
    Distil().check(inspect_model(pipelines("sd")), SETTINGS)
    Distil(retain_prompts="x.txt").check(inspect_model(pipelines("sd")), SETTINGS)
    assert Distil.default_recipe(inspect_model(tiny_model)) is None
    assert Distil.default_recipe(inspect_model(pipelines("sd"))) is not None


def test_others_are_refused(
    tiny_model: Path, tiny_unet: Callable[..., Denoiser], tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="takes no prompts"):
        Distil(retain_prompts="x.txt").check(inspect_model(tiny_model), SETTINGS)
    save_pipeline(tiny_unet(conditional=False), tmp_path / "model")
    with pytest.raises(RequestError, match="is unconditional"):
        Distil().check(inspect_model(tmp_path / "model"), SETTINGS)


def test_prompts_are_those_of_the_column_that_is_given(
    pipelines: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "list.csv"
    file.write_text("prompt,blip\na cat,a dog\n")
    request = Distil(retain_prompts=str(file), caption_column="blip")
    material = request.read(inspect_model(pipelines("sd")), SETTINGS)
    assert isinstance(material, PromptMaterial) and material.prompts.retain == ("a dog",)
    with pytest.raises(RequestError, match="column 'blip'.*no table of prompts"):
        Distil(retain_prompts="x.txt", caption_column="blip")


def test_a_missing_file_is_named() -> None:
    Distil().check_files()
    with pytest.raises(DataError, match="no prompts at missing.txt"):
        Distil(retain_prompts="missing.txt").check_files()


def test_a_request_comes_back_from_its_record() -> None:
    request = Distil(retain_prompts="x.txt")
    assert read_request(request.model_dump(mode="json")) == request
    assert Distil.expected_amounts(None, SETTINGS).forget_rows == 0  # type: ignore[arg-type]
