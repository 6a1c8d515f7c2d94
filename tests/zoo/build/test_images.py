"""A small model of images: what it is trained on, and what its network has to suit."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image

from efface.data.images import ImageSet, load_images
from efface.errors import ConfigError, DataError
from efface.zoo.build.images import new_denoiser, training_images
from efface.zoo.build.settings import DataSettings, NetworkSettings


def test_added_images_follow_the_others_as_often_as_is_set():
    plain = training_images(DataSettings())
    symbol = load_images("zoo:symbol").images
    added = training_images(DataSettings(added="zoo:symbol#0", added_copies=3))
    assert torch.equal(added.images[: len(plain)], plain.images)
    assert torch.equal(added.images[len(plain) :], symbol[[0]].expand(3, -1, -1, -1))
    assert added.labels is None


def test_images_are_pooled_and_labels_left_out():
    images = training_images(DataSettings(without_labels=(3,), mean_pool=2))
    assert images.images.shape[1:] == (1, 4, 4)
    assert images.labels is not None and 3 not in images.labels


def test_tables_have_the_columns_that_a_recipe_names(tmp_path: Path) -> None:
    images = [Image.new("L", (8, 8), grey) for grey in (5, 6)]
    columns = {"front": images, "back": images[::-1], "fine": [0, 1], "label": [1, 1]}
    kinds = {"front": datasets.Image(), "back": datasets.Image()}
    kinds |= {"fine": datasets.Value("int64"), "label": datasets.Value("int64")}
    source, other = str(tmp_path / "x.parquet"), str(tmp_path / "y.parquet")
    for file in (source, other):
        datasets.Dataset.from_dict(columns, datasets.Features(kinds)).to_parquet(file)
    read = training_images(
        DataSettings(
            source=source,
            added=f"{other}?image=front&label=label",
            image_column="back",
            label_column="fine",
        )
    )
    assert read.images[:, 0, 0, 0].tolist() == [6, 5, 5, 6]


def test_a_row_that_is_not_there_is_refused():
    with pytest.raises(DataError, match=r"zoo:symbol names row 5.*rows 0 to 0"):
        training_images(DataSettings(added="zoo:symbol#5"))


@pytest.mark.parametrize("shape", [(1, 7, 7), (3, 8, 12), (1, 6, 8)])
def test_images_that_no_network_of_these_channels_takes_are_refused(shape):
    images = ImageSet(images=torch.zeros(1, *shape, dtype=torch.uint8), labels=None)
    with pytest.raises(ConfigError, match=rf"{shape[1]} x {shape[2]} pixels.*network.channels"):
        new_denoiser(NetworkSettings(), images, False)
