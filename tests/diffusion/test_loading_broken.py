"""Models that are broken: a sentence, never a traceback or another model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from efface.diffusion.loading import load
from efface.errors import ModelError

WEIGHTS = "diffusion_pytorch_model.safetensors"


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
        pytest.param(remove_scheduler, "scheduler_config.json is missing", id="form a scheduler"),
        pytest.param(
            garble_scheduler, "scheduler_config.json is not valid JSON", id="garbled scheduler"
        ),
        pytest.param(garble_unet, "unet could not be loaded", id="garbled network config"),
    ],
)
def test_a_broken_folder_is_refused_with_a_sentence(folder, breakage, sentence):
    breakage(folder)
    with pytest.raises(ModelError, match=sentence) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
