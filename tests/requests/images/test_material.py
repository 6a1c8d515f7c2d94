"""Images of a request are named by their pixels, whatever file they came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efface import ForgetImages
from efface.errors import DataError
from efface.requests.images.material import ImageMaterial, read_images
from efface.settings.base import Settings, read_settings


@pytest.fixture
def settings() -> Settings:
    return read_settings("images", ForgetImages.own, method="siss")


def write(folder: Path, name: str, value: int, size: int = 8) -> str:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.full((size, size), value, np.uint8)).save(folder / name)
    return str(folder)


def read(request: ForgetImages, settings: Settings) -> ImageMaterial:
    return read_images(request, (1, 8, 8), settings)


def test_the_digest_is_that_of_the_pixels(settings: Settings, tmp_path: Path) -> None:
    one, same, other = (
        read(ForgetImages(images=write(tmp_path / f"{value} {name}", name, value)), settings)
        for name, value in (("a.png", 7), ("b.bmp", 7), ("a.png", 8))
    )
    assert one.digest == same.digest != other.digest
    assert one.recorded() == {"digest": one.digest, "names": ["a.png"], "hashes": one.hashes}
    assert same.recorded()["names"] == ["b.bmp"]


def test_retained_and_unseen_images_are_told_apart_by_their_pixels(
    settings: Settings, tmp_path: Path
) -> None:
    images = write(tmp_path / "images", "a.png", 7)
    request = ForgetImages(images=images, retain="digits", unseen="digits")
    material = read(request, settings)
    assert set(material.sets) == {"retained images", "unseen images"}
    alone = read(ForgetImages(images=images), settings)
    assert alone.sets == {}
    assert alone.digest == material.digest
    assert alone.compared_digest() != material.compared_digest()


def test_images_of_another_size_are_resized_only_when_asked(
    settings: Settings, tmp_path: Path
) -> None:
    request = ForgetImages(images=write(tmp_path / "images", "a.png", 7, size=16))
    with pytest.raises(DataError, match="images.resize=true"):
        read(request, settings)
    resized = read(request, settings.changed({"images.resize": True}))
    assert resized.split.forget.images.shape == (1, 1, 8, 8)
