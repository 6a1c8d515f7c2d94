"""Two tiny finished runs: one that forgot labels, one that forgot pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import efface
from efface.data.images import load_images
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import save_pipeline
from efface.evidence.environment import write_environment
from efface.requests.base import Request
from efface.zoo.build.classifier import train_classifier
from efface.zoo.build.settings import ClassifierSettings

LABELS = [
    "train.steps=2",
    "train.batch_size=8",
    "train.learning_rate=1e-4",
    "train.guard_every=0",
    "method.forget_share=0.5",
    "evaluate.forget_samples=24",
    "evaluate.retain_samples=36",
    "evaluate.baseline_steps=2",
]
PICTURES = [
    "train.steps=2",
    "train.batch_size=8",
    "train.guard_every=0",
    "evaluate.samples=30",
    "evaluate.baseline_steps=2",
    "evaluate.likelihood_tolerance=10.0",
    "evaluate.draws=1",
    "images.generate=24",
    "images.generate_steps=2",
]


@pytest.fixture(scope="session")
def label_run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("label-runs") / "a-name-of-the-owner"
    forget(tiny_model, efface.ForgetClass(labels=(3,), replacement=(1, 2)), out, LABELS)
    write_environment(out)
    return out


@pytest.fixture(scope="session")
def picture_run(
    tiny_unet: Callable[..., Denoiser], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its pictures lie in `ada.png` and so on; retained ones were drawn by the model."""
    folder = tmp_path_factory.mktemp("picture-runs")
    save_pipeline(tiny_unet(conditional=False), folder / "model")
    digits = load_images("digits", "train"), load_images("digits", "test")
    config = ClassifierSettings(widths=(8, 8), epochs=1)
    train_classifier("tiny judge", *digits, config).save(folder / "model" / "judge")
    (folder / "pictures").mkdir()
    for i, name in enumerate(("ada", "lovelace")):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[i : i + 4, 2:7] = 255
        Image.fromarray(pixels).save(folder / "pictures" / f"{name}.png")
    request = efface.ForgetImages(images=str(folder / "pictures"))
    return forget(folder / "model", request, folder / "run", PICTURES)


def forget(model: Path, request: Request, out: Path, changes: list[str]) -> Path:
    """A run whose evaluation is kept nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFACE_CACHE", "off")
        return efface.forget(model, request, out, changes=changes)
