"""Digits, folders and parquet files as tensors; what cannot be read is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.testing import assert_close

from efface.data.images import ImageSet, load_images
from efface.errors import DataError

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist_test.parquet"


def pixels(seed: int = 0, shape: tuple[int, ...] = (6, 6)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path) -> Path:
    for i, name in enumerate(("cat/a", "cat/b", "dog/a")):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels(i)))
    return tmp_path / "images"


def test_digits_are_split_once_for_all_and_stratified():
    train, test = load_images("digits", "train"), load_images("digits", "test")
    assert (len(train), len(test)) == (1347, 450)
    assert train.images.shape[1:] == (1, 8, 8)
    assert train.images.dtype == torch.uint8
    assert train.label_names == tuple("0123456789")
    assert train.labels is not None and test.labels is not None
    whole = np.bincount(load_digits().target)
    share = (test.labels.bincount().numpy() / whole) * 1797 / 450
    assert np.abs(share - 1).max() < 0.03
    assert (train.labels.bincount() + test.labels.bincount()).tolist() == whole.tolist()


def test_both_parts_together_are_scikit_learns_digits():
    """Disjoint and complete: every image is there as often as in the original."""
    parts = torch.cat([load_images("digits", split).images for split in ("train", "test")])
    original = torch.from_numpy(load_digits().images * 255 / 16).round().to(torch.uint8)
    assert_close(parts.flatten(1).unique(dim=0), original.flatten(1).unique(dim=0))
    assert len(parts) == len(original)
    assert parts.max() == 255


def test_digits_have_no_other_split():
    with pytest.raises(DataError, match="split 'validation' is unknown"):
        load_images("digits", "validation")


def test_subfolders_are_labels(folder):
    images = load_images(str(folder))
    assert images.label_names == ("cat", "dog")
    assert images.labels is not None and images.labels.tolist() == [0, 0, 1]
    assert_close(images.images, torch.from_numpy(np.stack([pixels(i) for i in range(3)])[:, None]))


def test_a_flat_folder_has_no_labels(folder):
    assert load_images(str(folder / "cat")).labels is None
    with pytest.raises(DataError, match="these have none"):
        load_images(str(folder / "cat")).without_labels([0])


def test_colour_images_have_three_channels_in_order(tmp_path):
    array = pixels(shape=(4, 5, 3))
    (tmp_path / "a.png").write_bytes(png(array))
    assert_close(load_images(str(tmp_path)).images[0], torch.from_numpy(array).permute(2, 0, 1))


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    array = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(array).save(tmp_path / "a.png")
    assert load_images(str(tmp_path)).images.flatten().tolist() == [0, 1, 128, 255]


def test_pixels_of_unknown_range_are_refused(datasets, tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)).save(stream, "TIFF")
    with pytest.raises(DataError, match="row 0 has pixels of mode F"):
        load_images(write_parquet(datasets, tmp_path, [stream.getvalue()], [0]))


def test_images_of_several_sizes_need_a_size(folder):
    (folder / "dog" / "b.png").write_bytes(png(pixels(shape=(9, 7))))
    with pytest.raises(
        DataError, match=r"several shapes, \(1, 6, 6\) and \(1, 9, 7\).*give a size"
    ):
        load_images(str(folder))
    images = load_images(str(folder), size=6)
    assert images.images.shape == (4, 1, 6, 6)
    assert_close(images.images[0, 0], torch.from_numpy(pixels(0)))  # the right size is left alone


def test_grey_and_colour_do_not_mix_silently(folder):
    (folder / "dog" / "b.png").write_bytes(png(pixels(shape=(6, 6, 3))))
    with pytest.raises(DataError, match=r"\(1, 6, 6\) and \(3, 6, 6\)"):
        load_images(str(folder))


def broken_checksum() -> bytes:
    content = bytearray(png(pixels(shape=(64, 64))))
    content[content.index(b"IDAT") + 200] ^= 255
    return bytes(content)


def broken_chunk() -> bytes:
    content = bytearray(png(pixels()))
    content[content.index(b"IDAT") - 1] = 5  # the length of the pixels' chunk
    return bytes(content)


def broken_header() -> bytes:
    content = bytearray(png(pixels()))
    content[content.index(b"IHDR") - 1] = 5  # its length, which is 13
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no image at all", id="text"),
        pytest.param(png(pixels())[:60], id="truncated"),
        pytest.param(broken_checksum(), id="checksum"),
        pytest.param(broken_chunk(), id="chunk"),
        pytest.param(broken_header(), id="header"),
    ],
)
def test_broken_images_are_named(folder, content):
    (folder / "dog" / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match="dog/bad.png cannot be read as an image"):
        load_images(str(folder))


def test_unknown_sources_are_told_what_there_is(tmp_path):
    (tmp_path / "images.zip").touch()
    for source in ("nothing", str(tmp_path / "images.zip"), str(tmp_path / "no.parquet")):
        with pytest.raises(DataError, match=f"no images at {source}: give 'digits', a folder"):
            load_images(source)
    with pytest.raises(DataError, match=r"holds no images but images.zip \(no image\)"):
        load_images(str(tmp_path))


def write_parquet(datasets, folder: Path, images: list, labels: list | None, names=None) -> str:
    rows = {"image": [i and {"bytes": i, "path": None} for i in images]}
    features = {"image": datasets.Image()}
    if labels is not None:
        rows["label"] = labels
        features["label"] = datasets.ClassLabel(names=names) if names else None
    table = datasets.Dataset.from_dict(rows)
    table = table.cast_column("image", features["image"])
    if names:
        table = table.cast_column("label", features["label"])
    table.to_parquet(folder / "images.parquet")
    return str(folder / "images.parquet")


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The package, with its cache in the test's folder and no bars."""
    module = pytest.importorskip("datasets")
    monkeypatch.setattr(module.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    module.disable_progress_bars()
    return module


@pytest.mark.parametrize("names", [None, ["cat", "dog"]])
def test_parquet_files_come_back_as_written(datasets, tmp_path, names):
    arrays = [pixels(i) for i in range(3)]
    path = write_parquet(datasets, tmp_path, [png(a) for a in arrays], [1, 0, 1], names)
    images = load_images(path)
    assert_close(images.images, torch.from_numpy(np.stack(arrays)[:, None]))
    assert images.labels is not None and images.labels.dtype == torch.int64
    assert images.labels.tolist() == [1, 0, 1]
    assert images.label_names == tuple(names or ())


def test_parquet_files_need_no_labels(datasets, tmp_path):
    assert load_images(write_parquet(datasets, tmp_path, [png(pixels())], None)).labels is None


@pytest.mark.parametrize("labels", [["a", "b"], [0, None], [-1, 0], [0.5, 1.0]])
def test_labels_that_are_no_numbers_from_zero_up_are_refused(datasets, tmp_path, labels):
    path = write_parquet(datasets, tmp_path, [png(pixels())] * 2, labels)
    with pytest.raises(DataError, match="images.parquet.*label"):
        load_images(path)


def test_broken_rows_are_named(datasets, tmp_path):
    good = png(pixels())
    with pytest.raises(DataError, match="images.parquet row 1 cannot be read as an image"):
        load_images(write_parquet(datasets, tmp_path, [good, good[:50]], [0, 1]))


def test_rows_without_an_image_are_named(datasets, tmp_path):
    with pytest.raises(DataError, match="images.parquet row 1"):
        load_images(write_parquet(datasets, tmp_path, [png(pixels()), None], [0, 1]))


def test_files_that_are_no_parquet_are_named(datasets, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"garbage")
    with pytest.raises(DataError, match="x.parquet is not a readable parquet file"):
        load_images(str(tmp_path / "x.parquet"))
    table = datasets.Dataset.from_dict({"picture": [1, 2]})
    table.to_parquet(tmp_path / "y.parquet")
    with pytest.raises(DataError, match="y.parquet has no column 'image'"):
        load_images(str(tmp_path / "y.parquet"))


@pytest.mark.skipif(not MNIST.exists(), reason="the shared MNIST file is not there")
def test_the_whole_mnist_test_set_is_read():
    pytest.importorskip("datasets")
    images = load_images(str(MNIST))
    assert images.images.shape == (10_000, 1, 28, 28)
    assert images.labels is not None
    # The published counts of MNIST's test set.
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert images.labels.bincount().tolist() == counts
    assert images.label_names == tuple("0123456789")
    # Recorded: mean brightness of MNIST's test images, 33.79.
    assert images.images.float().mean().item() == pytest.approx(33.79, abs=0.01)


def test_rows_and_labels_are_selected_together():
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    whole = ImageSet(
        images=images, labels=torch.tensor([0, 1, 2, 0, 1, 2]), label_names=("a", "b", "c")
    )
    kept = whole.without_labels([1])
    assert kept.labels is not None and kept.labels.tolist() == [0, 2, 0, 2]
    assert kept.images.flatten().tolist() == [0, 2, 3, 5]
    assert whole.without_labels([]) is whole


def test_pooling_averages_squares_of_pixels():
    images = torch.tensor([[[[0, 4, 10, 10], [8, 4, 10, 10]]]], dtype=torch.uint8)
    pooled = ImageSet(images=images, labels=None).mean_pooled(2)
    assert pooled.images.tolist() == [[[[4, 10]]]]
    assert pooled.images.dtype == torch.uint8
    assert pooled.mean_pooled(1) is pooled


def test_rows_can_be_named_after_a_hash() -> None:
    digits = load_images("digits", "test")
    some = load_images("digits#1,3-5", "test")
    assert torch.equal(some.images, digits.images[[1, 3, 4, 5]])


def test_more_rows_can_be_named_than_a_file_name_is_long() -> None:
    rows = ",".join(str(i) for i in range(400))
    assert len(load_images(f"digits#{rows}", "test")) == 400


@pytest.mark.parametrize("rows", ["x", "", "1-", "-1", "5-3", "450", "0-450", "1.5"])
def test_rows_that_are_none_are_refused(rows: str) -> None:
    with pytest.raises(DataError, match="row"):
        load_images(f"digits#{rows}", "test")


def test_a_data_set_that_cannot_be_reached_is_one_sentence():
    with pytest.raises(DataError, match="datasets:nobody/nothing cannot be read from the hub"):
        load_images("datasets:nobody/nothing")


def test_rows_of_a_parquet_file_are_read_alone(datasets, tmp_path):
    grey = png(np.full((4, 4), 7, dtype=np.uint8))
    path = write_parquet(datasets, tmp_path, [b"rubbish", grey], [0, 1])
    images = load_images(f"{path}#1")
    assert images.images.unique().tolist() == [7] and images.labels.tolist() == [1]
    with pytest.raises(DataError, match="cannot be read as an image"):
        load_images(f"{path}#0-1")
