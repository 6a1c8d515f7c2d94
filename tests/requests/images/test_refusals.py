"""Requests about pictures that cannot be: one sentence each, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from efface.records import read_record

Given = Callable[..., list[str]]
Run = Callable[..., None]


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
        (broken, "no readable image"),
        (bomb, "no readable image"),
        (coloured, "images.resize=true"),
        (large, "images.resize=true"),
    ],
)
def test_pictures_that_cannot_be_used(
    make, sentence: str, fails: Callable[..., str], model: Path, tmp_path: Path, arguments: Given
) -> None:
    make(tmp_path / "pictures")
    out = tmp_path / "run"
    error = fails(*arguments(model, tmp_path / "pictures", out))
    assert sentence in error
    assert not out.exists()


@pytest.mark.parametrize("make", [coloured, large])
def test_pictures_are_made_to_fit_when_asked(
    make, model: Path, tmp_path: Path, arguments: Given, run: Run
) -> None:
    make(tmp_path / "pictures")
    out = tmp_path / "run"
    more = ("--retain", "digits", "--no-evaluate", "--set", "images.resize=true")
    run(*arguments(model, tmp_path / "pictures", out, *more))
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
    more: tuple[str, ...],
    sentence: str,
    fails: Callable[..., str],
    model: Path,
    images: Path,
    tmp_path: Path,
    arguments: Given,
) -> None:
    out = tmp_path / "run"
    assert sentence in fails(*arguments(model, images, out, *more))
    assert not out.exists()


def test_a_conditional_model_is_refused(
    fails: Callable[..., str], tiny_model: Path, images: Path, tmp_path: Path, arguments: Given
) -> None:
    error = fails(*arguments(tiny_model, images, tmp_path / "run"))
    assert "is class-conditional" in error


def test_sets_that_overlap_entirely_are_refused(
    fails: Callable[..., str], model: Path, images: Path, tmp_path: Path, arguments: Given
) -> None:
    more = ("--retain", str(images))
    error = fails(*arguments(model, images, tmp_path / "run", *more))
    assert "all retained images are images to forget" in error
