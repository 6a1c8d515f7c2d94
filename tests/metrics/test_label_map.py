"""A label map: how it prepares images, and which ones are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from efface.errors import DataError
from efface.metrics.label_map import LabelMap, read_label_map
from tests.metrics.own_classifiers import MEAN, STD, write_map


def label_map(planes: int = 3, **changes: object) -> LabelMap:
    content = {"labels": ["a", "b"], "size": [4, 4], "mean": MEAN[:planes], "std": STD[:planes]}
    return LabelMap.model_validate(content | changes)


def test_images_are_normalised_in_the_order_of_the_channels() -> None:
    image = torch.rand(2, 3, 4, 4)
    for order, rows in (("RGB", (0, 1, 2)), ("BGR", (2, 1, 0))):
        prepared = label_map(channels=order).prepare(image)
        for place, row in enumerate(rows):
            expected = (image[:, row] - MEAN[place]) / STD[place]
            torch.testing.assert_close(prepared[:, place], expected)


def test_grey_is_repeated_and_colour_is_averaged() -> None:
    grey, colour = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4)
    repeated = label_map().prepare(grey)
    torch.testing.assert_close(repeated, label_map().prepare(grey.expand(-1, 3, -1, -1)))
    averaged = label_map(1).prepare(colour)
    torch.testing.assert_close(averaged, (colour.mean(1, keepdim=True) - MEAN[0]) / STD[0])


def test_a_smaller_network_sees_averages_and_not_every_other_pixel() -> None:
    stripes = torch.zeros(1, 1, 8, 8)
    stripes[..., ::2] = 1
    seen = label_map(1, mean=[0.0], std=[1.0]).prepare(stripes)
    assert seen.shape == (1, 1, 4, 4)
    torch.testing.assert_close(seen[..., 1:-1], torch.full((1, 1, 4, 2), 0.5), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": ["one"]}, "correct labels"),
        ({"size": [16]}, "correct size.1"),
        ({"size": [0, 4]}, "correct size.0"),
        ({"std": [0.0, 1.0, 1.0]}, "correct std.0"),
        ({"mean": [float("nan"), 0.0, 0.0]}, "label map"),
        ({"channels": "GBR"}, "correct channels"),
        ({"norm": 1}, "correct norm"),
        ({"mean": [0.5]}, "has 1 values of `mean` and 3 of `std`"),
        ({"mean": [0.5, 0.5], "std": [0.5, 0.5]}, "three"),
    ],
)
def test_a_wrong_entry_is_named(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "own.onnx").touch()
    write_map(tmp_path / "own.onnx", 4, **changes)
    with pytest.raises(DataError, match=sentence) as error:
        read_label_map(tmp_path / "own.onnx")
    assert "\n" not in str(error.value)


def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.onnx").touch()
    (tmp_path / "own.json").write_text("{")
    with pytest.raises(DataError, match="own.json is no label map: correct the file"):
        read_label_map(tmp_path / "own.onnx")
    (tmp_path / "own.json").write_text(json.dumps([1]))
    with pytest.raises(DataError, match="correct the file"):
        read_label_map(tmp_path / "own.onnx")
