"""Saving and loading: bit-identical, refusing what is broken, running no foreign code."""

from __future__ import annotations

import errno
import json
import math
import random
import runpy
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from efface.diffusion import loading
from efface.diffusion.denoiser import ClassDenoiser, Denoiser, UnconditionalDenoiser
from efface.diffusion.loading import build_denoiser, load, save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler, is_one_step
from efface.diffusion.sampling import (
    MultiStep,
    OneStep,
    draw_images,
    for_ancestral_steps,
    generators_from_seeds,
)
from efface.errors import ModelError, RunError
from efface.metrics.copy_similarity import denoise_back
from tests.tiny import pixel_transformer

WEIGHTS = "diffusion_pytorch_model.safetensors"


def condition_of(denoiser: Denoiser, labels: list[int]):
    return denoiser.encode(labels) if isinstance(denoiser, ClassDenoiser) else None


@torch.no_grad()
def assert_same(one: Denoiser, other: Denoiser) -> None:
    assert type(one) is type(other)
    assert (one.kind, one.sample_shape) == (other.kind, other.sample_shape)
    assert_close(one.schedule.alphas, other.schedule.alphas, rtol=0, atol=0)
    assert_close(one.schedule.sigmas, other.schedule.sigmas, rtol=0, atol=0)
    if isinstance(one, ClassDenoiser) and isinstance(other, ClassDenoiser):
        assert (one.num_classes, one.null_label) == (other.num_classes, other.null_label)
    x_t = torch.randn(3, *one.sample_shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 440, 999])
    guidance = 2.0 if isinstance(one, ClassDenoiser) else 1.0
    outputs = []
    for denoiser in (one, other):
        denoiser.network.eval()
        outputs.append(denoiser(x_t, t, condition_of(denoiser, [1, 2, 9]), guidance).output)
    assert_close(outputs[0], outputs[1], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("conditional", [True, False], ids=["class", "unconditional"])
def test_a_saved_model_loads_bit_identical(tiny_unet, tmp_path, kind, schedule, conditional):
    denoiser = tiny_unet(conditional=conditional, prediction=kind, schedule=schedule)
    save_pipeline(denoiser, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert isinstance(loaded, ClassDenoiser if conditional else UnconditionalDenoiser)
    assert not loaded.network.training
    assert_same(denoiser, loaded)
    assert not (tmp_path / "model.part").exists()


def test_a_saved_zero_terminal_snr_model_is_still_one(tiny_unet, tmp_path):
    save_pipeline(tiny_unet(zero_terminal_snr=True, prediction="v_prediction"), tmp_path / "model")
    assert load(tmp_path / "model").schedule.has_zero_terminal_snr


def test_a_saved_latent_model_loads_bit_identical(tiny_dit, tmp_path):
    denoiser = tiny_dit()
    save_pipeline(denoiser, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert_same(denoiser, loaded)
    own, read = (model.codec.vae.state_dict() for model in (denoiser, loaded))
    assert own.keys() == read.keys() and all(own[name].equal(read[name]) for name in own)
    latents = torch.randn(2, 4, 4, 4)  # sums round by where weights lie in memory
    assert_close(loaded.codec.decode(latents), denoiser.codec.decode(latents), rtol=0, atol=1e-5)


def test_a_pixel_transformer_loads_bit_identical(pixel_dit, tmp_path):
    save_pipeline(pixel_dit, tmp_path / "model")
    assert_same(pixel_dit, load(tmp_path / "model"))


@pytest.fixture
def pixel_dit() -> Denoiser:
    return pixel_transformer()


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("scale", [1.0, 0.9286])
def test_the_one_step_sampler_travels_with_the_weights(tiny_unet, tmp_path, kind, scale):
    denoiser = tiny_unet(prediction=kind)
    sampler = OneStep(440, scale)
    save_pipeline(denoiser, tmp_path / "model", sampler)
    info = inspect_model(tmp_path / "model")
    loaded = load(info)
    assert is_one_step(info)
    assert default_sampler(info, loaded) == sampler
    before = draw_images(denoiser, sampler, denoiser.encode([1, 2]), [0, 1])
    after = draw_images(loaded, default_sampler(info, loaded), loaded.encode([1, 2]), [0, 1])
    assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("sampler", [OneStep(440), OneStep(440, 0.9286), OneStep(800, 0.9998)])
def test_the_one_step_sampler_travels_with_latent_models_too(tiny_dit, tmp_path, sampler):
    denoiser = tiny_dit()
    save_pipeline(denoiser, tmp_path / "model", sampler)
    info = inspect_model(tmp_path / "model")
    loaded = load(info)
    assert default_sampler(info, loaded) == sampler
    before = draw_images(denoiser, sampler, denoiser.encode([1, 2]), [0, 1])
    after = draw_images(loaded, default_sampler(info, loaded), loaded.encode([1, 2]), [0, 1])
    assert_close(after, before, rtol=0, atol=1e-6)


def test_averaged_weights_are_preferred(folder):
    plain = load(folder)
    weights = load_file(folder / "unet" / WEIGHTS)
    shutil.copytree(folder / "unet", folder / "unet_ema")
    save_file({n: w * 1.5 for n, w in weights.items()}, folder / "unet_ema" / WEIGHTS)
    averaged = load(folder)
    for own, other in zip(plain.network.parameters(), averaged.network.parameters(), strict=True):
        assert_close(other, own * 1.5, rtol=0, atol=0)


def test_half_precision_weights_are_read_in_float32(folder):
    weights = load_file(folder / "unet" / WEIGHTS)
    save_file({n: w.half() for n, w in weights.items()}, folder / "unet" / WEIGHTS)
    network = load(folder).network
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_code_inside_a_model_folder_is_never_run(folder, tmp_path):
    witness = tmp_path / "executed"
    code = f"open({str(witness)!r}, 'w').close()\n"
    for place in (".", "unet", "scheduler"):
        for name in ("pipeline.py", "modeling.py", "__init__.py"):
            (folder / place / name).write_text(code)
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "ClassConditionalPipeline"]
    info = inspect_model(folder)
    denoiser = load(info)
    draw_images(denoiser, default_sampler(info, denoiser), denoiser.encode([1]), [0])
    assert not witness.exists()


def test_a_run_folder_stands_for_its_pipeline(folder, tmp_path):
    (tmp_path / "run").mkdir()
    folder.rename(tmp_path / "run" / "pipeline")
    assert isinstance(load(tmp_path / "run"), ClassDenoiser)


def test_names_of_labels_are_kept(tiny_dit, tmp_path):
    names = {"0": "tench", "1": "goldfish"}
    save_pipeline(tiny_dit(), tmp_path / "model", index={"id2label": names})
    assert inspect_model(tmp_path / "model").index["id2label"] == names


def test_a_full_disk_leaves_the_earlier_model_in_place(tiny_unet, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    first = tiny_unet()
    save_pipeline(first, folder)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loading.shutil, "copyfile", refuse)
    with pytest.raises(RunError, match="could not be written .*No space left on device.*--resume"):
        save_pipeline(tiny_unet(seed=1), folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    assert_same(first, load(folder))


def plain_unet(channels: int = 1, out: int | None = None, classes: int | None = None):
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=channels,
        out_channels=out or channels,
        layers_per_block=1,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=classes,
    )


SIGMOID = diffusers.DDPMScheduler(beta_schedule="sigmoid")
LEARNED = {"variance_type": "learned_range"}
DELIVERED = [
    (SIGMOID, "DDPMPipeline", "DDPMPipeline"),
    (SIGMOID, None, "DDPMPipeline"),
    (SIGMOID, "DDIMPipeline", "DDIMPipeline"),
    (diffusers.DDPMScheduler(beta_schedule="laplace"), "DDPMPipeline", "DDPMPipeline"),
    (diffusers.DDPMScheduler(), "DDIMPipeline", "DDIMPipeline"),
    (diffusers.DDPMScheduler(num_train_timesteps=20), None, "DDPMPipeline"),
    (diffusers.HeunDiscreteScheduler(beta_schedule="exp"), "DDPMPipeline", "DDIMPipeline"),
    (diffusers.EulerDiscreteScheduler(prediction_type="v_prediction"), None, "DDIMPipeline"),
    (diffusers.UniPCMultistepScheduler(), "DDIMPipeline", "DDIMPipeline"),
    (diffusers.PNDMScheduler(steps_offset=1), "PNDMPipeline", "DDIMPipeline"),
    (diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2"), None, "DDIMPipeline"),
    (diffusers.DDIMScheduler(20, trained_betas=[0.1] * 20), "DDIMPipeline", "DDIMPipeline"),
]


@pytest.mark.parametrize(("scheduler", "came", "goes"), DELIVERED)
def test_stock_diffusers_draws_the_same_from_what_is_delivered(tmp_path, scheduler, came, goes):
    """From ancestral steps, whose noise is their own, no more than images."""
    denoiser = build_denoiser(plain_unet(), scheduler, None)
    save_pipeline(denoiser, tmp_path / "model", None, {"_class_name": came} if came else None)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "model")
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline).__name__ == goes
    stock = pipeline(
        2, generator=generators_from_seeds([0, 1]), num_inference_steps=5, output_type="np"
    ).images
    images = draw_images(load(tmp_path / "model"), MultiStep(5), None, [0, 1])
    assert_close(images, draw_images(denoiser, MultiStep(5), None, [0, 1]), rtol=0, atol=1e-6)
    if goes == "DDIMPipeline":
        assert abs(images.permute(0, 2, 3, 1).numpy() - stock).mean() <= 1e-6
    assert stock.shape == (2, 8, 8, 1)


@pytest.mark.parametrize("classes", [None, 10])
@pytest.mark.parametrize("variance", ["learned", "learned_range"])
def test_a_learned_variance_is_left_alone_and_stock_diffusers_still_draws(
    tmp_path, classes, variance
):
    scheduler = diffusers.DDPMScheduler(variance_type=variance)
    denoiser = build_denoiser(plain_unet(3, 6, classes), scheduler, classes)
    save_pipeline(denoiser, tmp_path / "model")
    assert inspect_model(tmp_path / "model").learns_variance
    if classes is None:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "model")
    else:
        code = runpy.run_path(str(tmp_path / "model" / "pipeline.py"))
        parts = denoiser.network, scheduler.from_pretrained(tmp_path / "model" / "scheduler")
        pipeline = code["ClassConditionalPipeline"](*parts)
    pipeline.set_progress_bar_config(disable=True)
    asked = [2] if classes is None else [[3, 4]]
    images = pipeline(*asked, num_inference_steps=3, output_type="np").images
    assert images.shape == (2, 8, 8, 3)
    condition = None if classes is None else denoiser.encode([3, 4])
    back = denoise_back(denoiser, torch.zeros(2, 3, 8, 8), 250, 1, 0, 3, condition=condition)
    assert back.isfinite().all()
    assert for_ancestral_steps(denoiser).scheduler.config.variance_type == "fixed_small"


def test_a_variance_that_no_network_says_is_refused(tmp_path):
    save_pipeline(build_denoiser(plain_unet(), SIGMOID, None), tmp_path / "model")
    path = tmp_path / "model" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | LEARNED))
    with pytest.raises(ModelError, match="takes a variance from the network .learned_range."):
        inspect_model(tmp_path / "model")


BROKEN = [
    ("unet", "conv_in.weight", torch.nan),
    ("unet", "conv_in.bias", torch.inf),
    ("unet", "conv_out.weight", -torch.inf),
    ("unet", "time_embedding.linear_1.weight", torch.nan),
    ("unet", "class_embedding.weight", torch.nan),
    ("unet_ema", "conv_out.bias", torch.nan),
]


@pytest.mark.parametrize(("part", "weight", "value"), BROKEN)
def test_weights_that_are_not_finite_are_named_when_they_are_read(folder, part, weight, value):
    if part == "unet_ema":
        shutil.copytree(folder / "unet", folder / "unet_ema")
    weights = load_file(folder / part / WEIGHTS)
    weights[weight].view(-1)[-1] = value
    save_file(weights, folder / part / WEIGHTS)
    with pytest.raises(ModelError, match=f"{folder}/{part} is broken: its weight {weight} holds"):
        load(folder)


@pytest.mark.parametrize("part", ["transformer", "vae"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_parts_of_latent_models_are_looked_through_in_every_precision(
    tiny_dit, tmp_path, part, dtype
):
    save_pipeline(tiny_dit(), tmp_path / "model")
    path = tmp_path / "model" / part / WEIGHTS
    weights = {name: weight.to(dtype) for name, weight in load_file(path).items()}
    sorted(weights.items())[-1][1].view(-1)[0] = torch.nan
    save_file(weights, path)
    with pytest.raises(ModelError, match=f"{part} is broken: its weight {sorted(weights)[-1]}"):
        load(tmp_path / "model")


def more_weights(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"add_attention": False}))


def test_weights_without_a_place_are_refused(folder, capsys):
    """Stock diffusers leaves them out, and goes on with another network."""
    more_weights(folder)
    with pytest.raises(ModelError, match="unet holds 10 weights that its config.json has no place"):
        load(folder)
    assert capsys.readouterr().err == ""


WRONG = (None, True, -1, 0, 2.5, 3, 10**30, 1e308, math.nan, "", "x", [], [None], [3, "x"], {})


@pytest.mark.slow
def test_a_wrong_configuration_is_a_sentence_or_a_model_that_draws(folder):
    """200 values of the wrong type, two at once; no other error comes out of a network."""
    path, chance, drawn = folder / "unet" / "config.json", random.Random(0), 0
    content = json.loads(path.read_text())
    for _ in range(200):
        wrong = {key: chance.choice(WRONG) for key in chance.sample(sorted(content), 2)}
        path.write_text(json.dumps(content | wrong))
        try:
            denoiser = load(folder)
        except ModelError as error:
            assert "\n" not in str(error)
            continue
        condition = condition_of(denoiser, [1])
        draw_images(denoiser, OneStep(440), condition, [0])
        drawn += 1
    assert 10 < drawn < 190
