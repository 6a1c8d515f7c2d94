"""Pictures of stock pipelines, drawn in a process where efface cannot be imported."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers.utils.logging import add_handler, get_verbosity, remove_handler
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from efface.diffusion.loading import load, save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import MultiStep, OneStep, draw_images
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ModelError
from efface.methods.sfd import SFD
from tests.text_pipelines import load_text

Make = Callable[..., TextDenoiser]
KINDS = ("sd", "sd_v", "sdxl", "sd3", "flux", "pixart_alpha", "pixart_sigma")
# Other text encoders, and networks with other parts.
VARIANTS = ("sd_bert", "sd3_without_t5", "sd35", "flux_schnell")
SAVED = (*KINDS, "sd35", "flux_schnell")
PROMPTS, SEEDS = ["a cat", "two bags", "Red coat."], [11, 12, 13]

STOCK = """
import json, sys, diffusers, torch
from safetensors.torch import load_file, save_file

root = sys.argv[1]
jobs = json.load(open(f"{root}/jobs.json"))
noise = load_file(f"{root}/noise.safetensors")["noise"]
images, names = {}, {}


def draw(pipe, steps, guidance):
    options = {"guidance_scale": guidance}
    latents = noise
    if type(pipe) is diffusers.FluxPipeline:
        options = {"true_cfg_scale": guidance, "negative_prompt": [""] * len(jobs["prompts"])}
        latents = pipe._pack_latents(noise, *noise.shape)
    if type(pipe).__name__.startswith("PixArt"):
        options |= {"use_resolution_binning": False, "clean_caption": False}
    return pipe(
        jobs["prompts"], height=16, width=16, latents=latents, num_inference_steps=steps,
        output_type="pt", **options,
    ).images


for name, folder, steps, guidances in jobs["draw"]:
    missing = {"text_encoder_3": None, "tokenizer_3": None} if "without_t5" in name else {}
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, **missing)
    pipe.set_progress_bar_config(disable=True)
    names[name] = type(pipe).__name__
    for guidance in guidances:
        images[f"{name}/{guidance}"] = draw(pipe, steps, guidance)

json.dump(names, open(f"{root}/names.json", "w"))
save_file({k: v.contiguous() for k, v in images.items()}, f"{root}/images.safetensors")
"""


def student_of(denoiser: TextDenoiser) -> TextDenoiser:
    """Other weights than those of the folder that the model came from."""
    student = denoiser.clone()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return student


def sampler_of(denoiser: TextDenoiser) -> OneStep:
    return SFD().sampler(denoiser)


@pytest.fixture(scope="module")
def root(
    tmp_path_factory: pytest.TempPathFactory,
    pipelines: Callable[[str], Path],
    text_model: Make,
    without_efface: Callable[..., None],
) -> Path:
    """Pipelines as stock diffusers and as efface wrote them, and what the stock classes drew."""
    root = tmp_path_factory.mktemp("stock")
    jobs = []
    for kind in (*KINDS, *VARIANTS):
        jobs.append((kind, str(pipelines(kind)), 3, [1, 3]))
    for kind in SAVED:
        student = student_of(text_model(kind))
        save_pipeline(student, root / kind, MultiStep(3))
        save_pipeline(student, root / f"{kind}_one", sampler_of(student))
        jobs.append((f"{kind}_saved", str(root / kind), 2, [2]))
        jobs.append((f"{kind}_one", str(root / f"{kind}_one"), 1, [1]))
    noise = torch.stack(
        [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(s)) for s in SEEDS]
    )
    save_file({"noise": noise}, root / "noise.safetensors")
    (root / "jobs.json").write_text(json.dumps({"prompts": PROMPTS, "draw": jobs}))
    without_efface(STOCK, root)
    return root


@pytest.fixture(scope="module")
def stock(root: Path) -> dict[str, Tensor]:
    return load_file(root / "images.safetensors")


@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize("kind", [*KINDS, *VARIANTS])
def test_multi_step_samples_are_the_stock_pipelines(
    stock: dict[str, Tensor], text_model: Make, kind: str, guidance: int
) -> None:
    denoiser = text_model(kind)
    condition = denoiser.encode(PROMPTS)
    images = draw_images(denoiser, MultiStep(3, guidance=float(guidance)), condition, SEEDS)
    assert images.std() > 0.05  # neither black nor white
    assert_close(stock[f"{kind}/{guidance}"], images, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", SAVED)
def test_a_saved_pipeline_is_whole_and_draws_the_students_pictures(
    root: Path, stock: dict[str, Tensor], text_model: Make, kind: str
) -> None:
    student = student_of(text_model(kind))
    condition = student.encode(PROMPTS)
    images = draw_images(student, MultiStep(2, guidance=2.0), condition, SEEDS)
    assert_close(stock[f"{kind}_saved/2"], images, rtol=0, atol=1e-4)
    names = json.loads((root / "names.json").read_text())
    assert names[f"{kind}_saved"] == names[kind] in student.family.pipelines


@pytest.mark.parametrize("kind", SAVED)
def test_a_one_step_generator_is_a_stock_pipeline(
    stock: dict[str, Tensor], text_model: Make, kind: str
) -> None:
    student = student_of(text_model(kind))
    images = draw_images(student, sampler_of(student), student.encode(PROMPTS), SEEDS)
    assert images.std() > 0.05
    assert_close(stock[f"{kind}_one/1"], images, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_loads_as_the_same_model(root: Path, text_model: Make, kind: str) -> None:
    denoiser = text_model(kind)
    student, sampler = student_of(denoiser), sampler_of(denoiser)
    for name, expected in ((kind, MultiStep(50)), (f"{kind}_one", sampler)):
        info = inspect_model(root / name)
        loaded = load(info)
        assert isinstance(loaded, TextDenoiser)
        assert default_sampler(info, loaded) == expected
        assert loaded.sample_shape == denoiser.sample_shape
        saved, own = loaded.network.state_dict(), student.network.state_dict()
        assert saved.keys() == own.keys()
        assert all(torch.equal(saved[key], tensor) for key, tensor in own.items())
        drawn = [
            draw_images(d, sampler, d.encode(PROMPTS), SEEDS, batch_size=2)
            for d in (student, loaded)
        ]
        # Rounding alone: a processor was seen to differ by 1.01e-6 (v-prediction).
        assert_close(drawn[1], drawn[0], rtol=0, atol=1e-5)


def test_the_levels_of_a_one_step_flow_model_end_at_its_start(root: Path, text_model: Make) -> None:
    whole, cut = text_model("sd3").schedule, load_text(root / "sd3_one").schedule
    assert abs(float(cut.noise_to_signal[-1]) - 2.5) < 0.01
    assert_close(cut.sigmas, whole.sigmas[: cut.num_timesteps], rtol=0, atol=0)


def test_a_one_step_flow_model_is_loaded_without_a_warning(root: Path) -> None:
    """Diffusers warns of a `sigma_max` that it does not expect, and reads it."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # pyright: ignore
    add_handler(handler)
    try:
        load_text(root / "sd3_one")
        assert said == [] and get_verbosity() == logging.WARNING
        diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(root / "sd3_one" / "scheduler")
        assert "sigma_max" in said[0]
    finally:
        remove_handler(handler)


def test_a_one_step_generator_can_be_saved_as_a_multi_step_model_again(
    root: Path, tmp_path: Path
) -> None:
    once = load_text(root / "sd_one")
    save_pipeline(once, tmp_path / "again", OneStep(once.schedule.num_timesteps - 1, 0.5))
    assert inspect_model(tmp_path / "again").input_scale == 0.5
    save_pipeline(load_text(tmp_path / "again"), tmp_path / "plain")
    index = json.loads((tmp_path / "plain" / "model_index.json").read_text())
    assert "default_steps" not in index
    assert "input_scale" not in index


def test_other_parts_are_copied_but_neither_code_nor_pickles(pipelines, tmp_path: Path) -> None:
    source = pipelines("sdxl")
    strange = {"text_encoder/evil.py": "1", "tokenizer/data.pkl": "1", "vae/old.bin": "1"}
    try:
        for name, content in strange.items():
            (source / name).write_text(content)
        denoiser = load_text(source).without_encoders()
        save_pipeline(denoiser, tmp_path / "model")
    finally:
        for name in strange:
            (source / name).unlink(missing_ok=True)

    def files(folder: Path) -> set[str]:
        return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}

    assert files(tmp_path / "model") == files(source)
    for name in ("text_encoder_2/model.safetensors", "tokenizer/tokenizer.json"):
        assert (tmp_path / "model" / name).read_bytes() == (source / name).read_bytes()


def test_a_pipeline_whose_source_is_gone_is_not_written_in_part(pipelines, tmp_path: Path) -> None:
    shutil.copytree(pipelines("sd"), tmp_path / "source")
    denoiser = load_text(tmp_path / "source")
    shutil.rmtree(tmp_path / "source")
    with pytest.raises(ModelError, match=r"source/.* is gone.*put back the model"):
        save_pipeline(denoiser, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_depends_on_its_seed_and_prompt_alone(text_model: Make, kind: str) -> None:
    denoiser = text_model(kind)
    sampler, condition = MultiStep(2, guidance=2.0), denoiser.encode(PROMPTS)
    together = draw_images(denoiser, sampler, condition, SEEDS)
    apart = draw_images(denoiser, sampler, condition[1:2], SEEDS[1:2])
    assert_close(apart, together[1:2], rtol=0, atol=1e-5)
