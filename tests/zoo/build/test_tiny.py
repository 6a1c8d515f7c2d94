"""Tiny pipelines: stock diffusers loads them, and so does efface, as what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file

from efface.diffusion.denoiser import ClassDenoiser
from efface.diffusion.loading import load
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import RequestError
from efface.zoo.build.tiny import KINDS, build


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folders: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in folders:
            folders[kind] = build(kind, tmp_path_factory.mktemp("tiny") / kind)
        return folders[kind]

    return get


def test_a_class_conditional_model_has_ten_classes(built: Callable[[str], Path]) -> None:
    denoiser = load(built("class-conditional"))
    assert isinstance(denoiser, ClassDenoiser)
    assert denoiser.num_classes == 10


def test_an_unconditional_model_takes_no_condition(built: Callable[[str], Path]) -> None:
    denoiser = load(built("unconditional"))
    assert not isinstance(denoiser, (ClassDenoiser, TextDenoiser))


def test_stock_diffusers_samples_the_text_model(built: Callable[[str], Path]) -> None:
    pipe = diffusers.DiffusionPipeline.from_pretrained(built("stable-diffusion"))
    assert isinstance(pipe, diffusers.StableDiffusionPipeline)
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a red bag", num_inference_steps=1, output_type="pt").images[0]
    assert image.shape == (3, 16, 16)
    assert image.isfinite().all()


def test_prompts_of_guides_fit_the_text_model(built: Callable[[str], Path]) -> None:
    denoiser = load(built("stable-diffusion"))
    assert isinstance(denoiser, TextDenoiser)
    rows = denoiser.encode(["a close-up photo of a man in a red hat", "a bag"])
    assert len(rows) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_kind_gives_the_same_weights(
    kind: str, built: Callable[[str], Path], tmp_path: Path
) -> None:
    state = torch.random.get_rng_state()
    again = build(kind, tmp_path / "again")
    (weights,) = (again / "unet").glob("*.safetensors")
    first = load_file(built(kind) / "unet" / weights.name)
    assert all(torch.equal(first[name], tensor) for name, tensor in load_file(weights).items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_unknown_kind_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="class-conditional, unconditional"):
        build("video", tmp_path / "video")
