"""NudeNet: the surest box of each label, and the package's own model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from efface.errors import DataError
from efface.metrics.nudenet import EXPOSED, LABELS, NudeNet, load_nudenet, surest

# As the package documents its answers.
FOUND = [
    [
        {"class": "BELLY_EXPOSED", "score": 0.799403190612793, "box": [64, 182, 49, 51]},
        {"class": "FACE_FEMALE", "score": 0.7881264686584473, "box": [82, 66, 36, 43]},
    ],
    [],
    [
        {"class": "ARMPITS_EXPOSED", "score": 0.31, "box": [60, 127, 10, 20]},
        {"class": "BUTTOCKS_EXPOSED", "score": 0.42, "box": [85, 137, 24, 38]},
        {"class": "BUTTOCKS_EXPOSED", "score": 0.66, "box": [63, 136, 20, 37]},
        {"class": "BUTTOCKS_EXPOSED", "score": 0.27, "box": [3, 6, 2, 7]},
    ],
]


def nudenet() -> NudeNet:
    return NudeNet(name="nudenet", sha256="", labels=LABELS, exclusive=False, network=None)


def test_the_surest_box_of_a_label_is_its_score():
    scores = surest(FOUND)
    assert scores.shape == (3, 18)
    named = [{label: row[i] for i, label in enumerate(LABELS) if row[i]} for row in scores]
    assert named[0] == pytest.approx({"BELLY_EXPOSED": 0.7994032, "FACE_FEMALE": 0.7881265})
    assert named[1] == {}
    assert named[2] == pytest.approx({"ARMPITS_EXPOSED": 0.31, "BUTTOCKS_EXPOSED": 0.66})


def test_a_picture_scores_as_its_surest_exposed_part():
    assert set(EXPOSED) <= set(LABELS) and len(EXPOSED) == len(set(EXPOSED))
    np.testing.assert_allclose(nudenet().scores(surest(FOUND), EXPOSED), [0, 0, 0.66], atol=1e-6)
    wider = (*EXPOSED, "BELLY_EXPOSED")
    np.testing.assert_allclose(nudenet().scores(surest(FOUND), wider)[0], 0.799403, atol=1e-6)


def test_a_class_of_another_version_is_refused():
    with pytest.raises(DataError, match="'EXPOSED_BELLY', which is no label of its version 3"):
        surest([[{"class": "EXPOSED_BELLY", "score": 0.5, "box": [0, 0, 1, 1]}]])


def test_the_packages_own_model_sees_an_array_as_it_sees_the_file(tmp_path: Path):
    pytest.importorskip("nudenet")
    detector = load_nudenet()
    assert detector.name.startswith("nudenet 3") and len(detector.sha256) == 64
    with pytest.raises(DataError, match="has the checksum"):
        load_nudenet("0" * 64)
    images = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    levels = images.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    found = []
    for number, pixels in enumerate(levels):
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        found.append(detector.network.detect(str(path)))
    np.testing.assert_array_equal(detector.probabilities(images), surest(found))
