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


def test_the_middle_is_cut_out_unless_all_of_it_is_squashed(
    settings: Settings, tmp_path: Path
) -> None:
    pixels = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None], 8, 0)  # 8 x 24
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    request = ForgetImages(images=str(tmp_path / "images"))
    middle, squashed = (
        read(request, settings.changed({"images.resize": resize})).split.forget.images[0, 0]
        for resize in (True, "squash")
    )
    assert np.array_equal(middle, pixels[:, 8:16])
    assert int(squashed[0, 0]) < 40 and int(squashed[0, -1]) > 190


@pytest.mark.parametrize("role", ["retain", "unseen"])
def test_only_images_to_forget_must_all_be_images(
    role: str, settings: Settings, tmp_path: Path
) -> None:
    """Nobody is to believe that an image was forgotten which was not read."""
    for name in ("forget", role):
        write(tmp_path / name, "a.png", 10 if name == "forget" else 200)
        (tmp_path / name / "notes.txt").write_text("words")
    others = {role: str(tmp_path / role)}
    with pytest.raises(DataError, match=r"forget holds notes.txt \(no image\): take out"):
        read(ForgetImages(images=str(tmp_path / "forget"), **others), settings)
    (tmp_path / "forget" / "notes.txt").unlink()
    material = read(ForgetImages(images=str(tmp_path / "forget"), **others), settings)
    assert material.split.forget.names == ("a.png",)


def test_a_request_chooses_the_column_of_images(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    png = Path(write(tmp_path / "images", "a.png", 7), "a.png").read_bytes()
    path = str(tmp_path / "x.parquet")
    parquet.write_table(pyarrow.table({"raw": [b"no image"], "scaled": [png]}), path)
    with pytest.raises(DataError, match=r"raw \(binary\), scaled \(binary\)"):
        read(ForgetImages(images=path), settings)
    material = read(ForgetImages(images=path, image_column="scaled"), settings)
    assert material.split.forget.images.unique().tolist() == [7]
