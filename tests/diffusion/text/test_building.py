"""A denoiser is what its pipeline's parts say, and shares all but the network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch.testing import assert_close

from efface.diffusion.loading import load, load_beside
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep, draw_images
from efface.diffusion.text.denoiser import TextDenoiser, as_text_denoiser
from efface.errors import ModelError
from tests.text_pipelines import load_text

Folders = Callable[[str], Path]
Make = Callable[..., TextDenoiser]


def test_copies_share_the_encoders_and_nothing_of_the_network(text_model: Make) -> None:
    denoiser = text_model("sd")
    copy = denoiser.clone()
    assert copy.prompts is denoiser.prompts
    assert copy.codec is denoiser.codec
    own, other = next(denoiser.network.parameters()), next(copy.network.parameters())
    assert own.data_ptr() != other.data_ptr()
    assert not any(p.requires_grad for p in denoiser.codec.vae.parameters())
    encoder = denoiser.prompts._pipeline.text_encoder
    assert not any(p.requires_grad for p in encoder.parameters())


def test_another_network_of_the_pipeline_takes_its_own_scheduler(
    pipelines: Folders, text_model: Make
) -> None:
    base, other = text_model("sd"), text_model("sd_v")
    beside = as_text_denoiser(load_beside(inspect_model(pipelines("sd_v")), base))
    assert beside.prompts is base.prompts and beside.codec is base.codec
    assert (beside.kind, beside.folder) == ("v_prediction", other.folder)
    x_t, t = torch.randn(2, *base.sample_shape), torch.tensor([10, 900])
    condition = beside.encode(["a cat", "a bag"])
    assert_close(beside(x_t, t, condition).x0, other(x_t, t, condition).x0, rtol=0, atol=0)


def test_the_size_of_flux_is_what_one_says_or_that_of_the_stock_pipeline(
    pipelines: Folders,
) -> None:
    folder = pipelines("flux")
    assert load(folder).sample_shape == (4, 128, 128)
    assert load(inspect_model(folder, size=24)).sample_shape == (4, 12, 12)
    with pytest.raises(ModelError, match="images of 14 x 14 pixels do not fit"):
        inspect_model(folder, size=14)
    with pytest.raises(ModelError, match="24 x 24 pixels were asked for, and .*sd makes 16 x 16"):
        inspect_model(pipelines("sd"), size=24)


@pytest.mark.parametrize(
    "scheduler",
    [
        pytest.param(diffusers.DDIMScheduler(), id="clips and has no offset"),
        pytest.param(diffusers.DPMSolverMultistepScheduler(), id="says nothing of clipping"),
    ],
)
def test_samples_are_stock_whatever_the_scheduler_says_of_clipping_and_offsets(
    pipelines: Folders, tmp_path: Path, scheduler: Any
) -> None:
    folder = shutil.copytree(pipelines("sd"), tmp_path / "model")
    scheduler.save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    denoiser = load_text(folder)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    stock = pipe(
        "a cat", latents=noise, num_inference_steps=3, guidance_scale=1.0, output_type="pt"
    ).images
    images = draw_images(denoiser, MultiStep(3), denoiser.encode(["a cat"]), [0])
    assert_close(images, stock, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_what_an_index_says_of_parts_that_are_not_read_changes_nothing(
    family: str, pipelines: Folders, tmp_path: Path
) -> None:
    folder = shutil.copytree(pipelines(family), tmp_path / "model")
    expected = _answer(folder)
    index = json.loads((folder / "model_index.json").read_text())
    for name in ("safety_checker", "feature_extractor", "image_encoder"):
        for strange in ("x", "", True, 1e308, {}):
            changed = json.dumps(index | {name: strange})
            (folder / "model_index.json").write_text(changed)
            assert_close(_answer(folder), expected)


def _answer(folder: Path) -> torch.Tensor:
    denoiser = as_text_denoiser(load(folder))
    x_t = torch.ones(1, *denoiser.sample_shape)
    return denoiser(x_t, torch.tensor([10]), denoiser.encode(["a bag"])).x0


@pytest.mark.parametrize("strange", [None, 1, "false", [], [None, None], {}])
def test_a_switch_of_the_pipeline_is_on_or_off(
    strange: object, pipelines: Folders, tmp_path: Path
) -> None:
    folder = shutil.copytree(pipelines("sdxl"), tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    switch = {"force_zeros_for_empty_prompt": strange}
    (folder / "model_index.json").write_text(json.dumps(index | switch))
    with pytest.raises(ModelError, match="force_zeros_for_empty_prompt: it must be true or false"):
        load(folder)
