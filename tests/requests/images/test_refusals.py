"""Requests about pictures that cannot be: one sentence each, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from efface.records import read_record
from tests.image_requests import Fails, arguments, run
from tests.image_requests import model as model
from tests.image_requests import pictures as pictures


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
    make, sentence: str, fails: Fails, model: Path, tmp_path: Path
) -> None:
    make(tmp_path / "pictures")
    out = tmp_path / "run"
    error = fails(*arguments(model, tmp_path / "pictures", out))
    assert sentence in error
    assert not out.exists()


@pytest.mark.parametrize("make", [coloured, large])
def test_pictures_are_made_to_fit_when_asked(
    make, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "pictures")
    out = tmp_path / "run"
    more = ("--retain", "digits", "--no-evaluate", "--set", "images.resize=true")
    run(monkeypatch, *arguments(model, tmp_path / "pictures", out, *more))
    assert read_record(out).settings["images"]["resize"] is True


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--set", "method.mixture=1.5"), "give lambda from 0 to 1"),
        (("--set", "method.window_start=0.9", "--set", "method.window_end=0.1"), "no window"),
        (("--set", "method.ratio=0"), "above 0"),
        (("--prior", "1.5"), "between 0 and 1"),
        (("--method", "sfd"), "does not forget pictures"),
        (("--set", "train.stop_every=2"), "--unseen"),
        (("--retain", "nowhere"), "no images at nowhere"),
    ],
)
def test_requests_that_cannot_be(
    more: tuple[str, ...], sentence: str, fails: Fails, model: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert sentence in fails(*arguments(model, pictures, out, *more))
    assert not out.exists()


def test_a_conditional_model_is_refused(
    fails: Fails, tiny_model: Path, pictures: Path, tmp_path: Path
) -> None:
    error = fails(*arguments(tiny_model, pictures, tmp_path / "run"))
    assert "is class-conditional" in error


def test_sets_that_overlap_entirely_are_refused(
    fails: Fails, model: Path, pictures: Path, tmp_path: Path
) -> None:
    more = ("--retain", str(pictures))
    error = fails(*arguments(model, pictures, tmp_path / "run", *more))
    assert "all retained images are images to forget" in error
