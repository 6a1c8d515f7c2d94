"""What tests of requests about images share: a tiny model, images, the command line."""

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
from efface.zoo.build.classifier import fit_classifier
from efface.zoo.build.settings import ClassifierSettings

SMALL = (
    "train.steps=4",
    "train.batch_size=8",
    "train.log_every=1",
    "images.samples=20",
    "evaluate.baseline_steps=4",
    "images.likelihood_steps=2",
    "images.unseen=10",
    "images.controls=2",
    "images.draws=1",
    "images.generate=24",
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_unet) -> Path:
    """An unconditional model with a classifier beside its weights."""
    folder = tmp_path_factory.mktemp("models") / "unconditional"
    save_pipeline(tiny_unet(conditional=False, channels=(8,), attention=(False,)), folder)
    digits = load_images("digits", "train"), load_images("digits", "test")
    settings = ClassifierSettings(widths=(8, 8), epochs=1)
    fit_classifier("tiny classifier", *digits, settings).save(folder / "judge")
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two images, one with a hostile name."""
    folder = tmp_path_factory.mktemp("images")
    for i, name in enumerate(("<b>one</b>.png", "two.png")):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[i : i + 4, 2:7] = 255
        Image.fromarray(pixels).save(folder / name.replace("/", "_"))
    return folder


@pytest.fixture
def arguments(model: Path, images: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Of `efface forget images`, with tiny settings; the run folder is `run`, or another name."""

    def given(
        *more: str, out: str = "run", base: Path = model, forgotten: Path = images
    ) -> list[str]:
        changes = [part for setting in SMALL for part in ("--set", setting)]
        where = [str(base), "--images", str(forgotten), "--out", str(tmp_path / out)]
        return ["forget", "images", *where, *changes, *more]

    return given


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The command line in this process, which must succeed."""

    def run(*given: str) -> None:
        monkeypatch.setattr(sys, "argv", ["efface", *given])
        try:
            efface.cli.main()
        except SystemExit as stopped:
            assert stopped.code in (0, None)

    return run


@pytest.fixture
def forget(
    command: Callable[..., None], arguments: Callable[..., list[str]], tmp_path: Path
) -> Callable[..., Path]:
    """Forget the images on the command line, as `arguments` has it; returns the run folder."""

    def run(*more: str, out: str = "run", **other: Path) -> Path:
        command(*arguments(*more, out=out, **other))
        return tmp_path / out

    return run


@pytest.fixture
def refusal(
    fails: Callable[..., str], arguments: Callable[..., list[str]], tmp_path: Path
) -> Callable[..., str]:
    """The sentence with which a request is refused before anything is written."""

    def run(*more: str, **other: Path) -> str:
        sentence = fails(*arguments(*more, **other))
        assert not (tmp_path / "run").exists()
        return sentence

    return run
