"""What tests of requests about pictures share: a tiny model, pictures, the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import efface.cli
from efface.data.images import load_images
from efface.diffusion.loading import save_pipeline
from efface.zoo.build.classifier import train_classifier
from efface.zoo.build.settings import ClassifierSettings

SMALL = [
    "train.steps=4",
    "train.batch_size=8",
    "train.log_every=1",
    "evaluate.samples=20",
    "evaluate.baseline_steps=4",
    "evaluate.likelihood_tolerance=0.1",
    "evaluate.unseen=10",
    "evaluate.controls=2",
    "evaluate.draws=1",
    "images.generate=24",
    "images.generate_steps=4",
]
Fails = Callable[..., str]
WEIGHTS = "pipeline/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_unet) -> Path:
    folder = tmp_path_factory.mktemp("models") / "unconditional"
    save_pipeline(tiny_unet(conditional=False), folder)
    digits = load_images("digits", "train"), load_images("digits", "test")
    config = ClassifierSettings(widths=(8, 8), epochs=1)
    train_classifier("tiny judge", *digits, config).save(folder / "judge")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i, name in enumerate(("<b>one</b>.png", "two.png")):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[i : i + 4, 2:7] = 255
        Image.fromarray(pixels).save(folder / name.replace("/", "_"))
    return folder


def arguments(model: Path, pictures: Path, out: Path, *more: str) -> list[str]:
    changes = [part for setting in SMALL for part in ("--set", setting)]
    where = [str(model), "--images", str(pictures), "--out", str(out)]
    return ["forget", "images", *where, *changes, *more]


def run(monkeypatch: pytest.MonkeyPatch, *given: str) -> None:
    monkeypatch.setattr(sys, "argv", ["efface", *given])
    try:
        efface.cli.main()
    except SystemExit as stopped:
        assert stopped.code in (0, None)
