"""Requests about images that cannot be: one sentence each, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from efface.records import read_record


def empty(folder: Path) -> None:
    folder.mkdir()


def broken(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG no picture")


def bomb(folder: Path) -> None:
    folder.mkdir()
    Image.new("1", (20_000, 20_000)).save(folder / "a.png")


def coloured(folder: Path) -> None:
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")


def large(folder: Path) -> None:
    folder.mkdir()
    Image.new("L", (16, 16)).save(folder / "a.png")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (empty, "holds no images"),
        (broken, "cannot be read as an image"),
        (bomb, "more than 89,478,485 pixels: scale it down"),
        (coloured, "images.resize=true"),
        (large, "images.resize=true"),
    ],
)
def test_images_that_cannot_be_used(
    make: Callable[[Path], None], sentence: str, refusal: Callable[..., str], tmp_path: Path
) -> None:
    make(tmp_path / "images")
    assert sentence in refusal(forgotten=tmp_path / "images")


@pytest.mark.parametrize("make", [coloured, large])
def test_images_are_made_to_fit_when_asked(
    make: Callable[[Path], None], forget: Callable[..., Path], tmp_path: Path
) -> None:
    make(tmp_path / "images")
    more = ("--retain", "digits", "--no-evaluate", "--set", "images.resize=true")
    out = forget(*more, forgotten=tmp_path / "images")
    assert read_record(out).settings["images"]["resize"] is True


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--set", "method.mixture=1.5"), "method.mixture"),
        (("--set", "method.window_start=0.9", "--set", "method.window_end=0.1"), "window_start"),
        (("--set", "method.ratio=0"), "method.ratio"),
        (("--prior", "1.5"), "prior"),
        (("--method", "sfd"), "'sfd'"),
        (("--set", "train.stop_every=2"), "--unseen"),
        (("--retain", "nowhere"), "no images at nowhere"),
    ],
)
def test_requests_that_cannot_be(
    more: tuple[str, ...], sentence: str, refusal: Callable[..., str]
) -> None:
    assert sentence in refusal(*more)


def test_a_conditional_model_is_refused(refusal: Callable[..., str], tiny_model: Path) -> None:
    assert "is class-conditional" in refusal(base=tiny_model)


def test_sets_that_overlap_entirely_are_refused(refusal: Callable[..., str], images: Path) -> None:
    error = refusal("--retain", str(images))
    assert "all retained images are images to forget" in error
