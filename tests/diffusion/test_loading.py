"""Saving and loading: bit-identical, refusing what is broken, running no foreign code."""

from __future__ import annotations

import errno
import json
import math
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from efface.diffusion import loading
from efface.diffusion.denoiser import ClassDenoiser, Denoiser, UnconditionalDenoiser
from efface.diffusion.loading import load, save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler, is_one_step
from efface.diffusion.sampling import OneStep, draw_images
from efface.errors import ModelError, RunError
from tests.tiny import pixel_transformer

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    """A pipeline folder to break."""
    return shutil.copytree(tiny_model, tmp_path / "model")


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
    latents = torch.randn(2, 4, 4, 4)
    assert_close(loaded.codec.decode(latents), denoiser.codec.decode(latents), rtol=0, atol=0)


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
    assert is_one_step(loaded)
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


def break_missing_weight(folder: Path) -> None:
    weights = load_file(folder / "unet" / WEIGHTS)
    del weights["class_embedding.weight"]
    save_file(weights, folder / "unet" / WEIGHTS)


def break_shape(folder: Path) -> None:
    weights = load_file(folder / "unet" / WEIGHTS)
    save_file(weights | {"conv_in.bias": torch.zeros(3)}, folder / "unet" / WEIGHTS)


def break_average(folder: Path) -> None:
    shutil.copytree(folder / "unet", folder / "unet_ema")
    weights = folder / "unet_ema" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])


def break_average_pickle(folder: Path) -> None:
    shutil.copytree(folder / "unet", folder / "unet_ema")
    (folder / "unet_ema" / WEIGHTS).rename(folder / "unet_ema" / "diffusion_pytorch_model.bin")


def remove_scheduler(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")


def garble_scheduler(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").write_text("{'beta_start': ")


def garble_unet(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"block_out_channels": "wide"}))


@pytest.mark.parametrize(
    ("breakage", "sentence"),
    [
        pytest.param(
            break_missing_weight, "unet.*lacks.*class_embedding.weight", id="missing weight"
        ),
        pytest.param(break_shape, "unet could not be loaded.*conv_in.bias", id="wrong shape"),
        pytest.param(break_average, "unet_ema.*is truncated", id="truncated average"),
        pytest.param(break_average_pickle, "unet_ema.*pickle", id="pickled average"),
        pytest.param(remove_scheduler, "scheduler.*could not be", id="no scheduler"),
        pytest.param(garble_scheduler, "scheduler.*could not be", id="garbled scheduler"),
        pytest.param(garble_unet, "unet could not be loaded", id="garbled network config"),
    ],
)
def test_a_broken_folder_is_refused_with_a_sentence(folder, breakage, sentence):
    breakage(folder)
    with pytest.raises(ModelError, match=sentence) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


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
