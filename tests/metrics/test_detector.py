"""Detectors: known answers, softmax against sigmoid, what is no classifier is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from efface.errors import ConfigError, DataError
from efface.metrics.detector import (
    ClassifierDetector,
    check_labels,
    load_classifier,
    name_labels,
    read_labels,
)
from efface.metrics.extractors import load_extractor
from tests.metrics.detectors import LABELS, MULTI, logits, make_brightness, make_random, save

LEVELS = torch.tensor([0.0, 51.0, 102.0, 204.0, 255.0]) / 255


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("detectors")
    return {
        "one": make_brightness(root / "one", None),
        "many": make_brightness(root / "many", MULTI),
        "vit": make_random(root / "vit", MULTI),
    }


@pytest.fixture(scope="module")
def detectors(folders: dict[str, Path]) -> dict[str, ClassifierDetector]:
    return {name: load_classifier(folder) for name, folder in folders.items()}


def plain(levels: torch.Tensor, size: int = 12) -> torch.Tensor:
    return levels[:, None, None, None].expand(-1, 3, size, size)


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(3))


def test_labels_that_exclude_each_other_share_one_softmax(detectors):
    found = detectors["one"].probabilities(plain(LEVELS))
    np.testing.assert_allclose(found, logits(LEVELS).softmax(1), rtol=1e-4)
    assert detectors["one"].exclusive and detectors["one"].labels == LABELS


def test_labels_of_a_multi_label_classifier_have_a_sigmoid_each(detectors):
    found = detectors["many"].probabilities(plain(LEVELS))
    np.testing.assert_allclose(found, logits(LEVELS).sigmoid(), rtol=1e-4)
    assert not detectors["many"].exclusive
    assert (found.sum(1) > 1).any()


def test_a_score_adds_labels_that_exclude_each_other_and_else_takes_the_largest(detectors):
    probabilities = np.array([[0.2, 0.7, 0.1], [0.5, 0.1, 0.4]])
    one, many = detectors["one"], detectors["many"]
    np.testing.assert_allclose(one.scores(probabilities, ["bag", "coat"]), [0.9, 0.6])
    np.testing.assert_allclose(many.scores(probabilities, ["bag", "coat"]), [0.7, 0.5])
    for detector in (one, many):
        np.testing.assert_allclose(detector.scores(probabilities, ["boot"]), [0.1, 0.4])


def test_a_label_that_two_classes_bear_stands_for_both(tmp_path):
    twice = load_classifier(make_brightness(tmp_path, None, ("crane", "crane", "boot")))
    found = twice.probabilities(plain(LEVELS))
    np.testing.assert_allclose(
        twice.scores(found, ["crane"]), 1 - found[:, 2].astype(float), atol=1e-6
    )


def test_grey_pictures_are_seen_as_colour_ones(detectors):
    grey = pictures(4)[:, :1]
    np.testing.assert_array_equal(
        detectors["vit"].probabilities(grey),
        detectors["vit"].probabilities(grey.expand(-1, 3, -1, -1)),
    )


def test_neither_order_nor_batches_change_what_is_seen(detectors):
    detector, batch = detectors["vit"], pictures(7)
    whole = detector.probabilities(batch)
    assert whole.std(0).min() > 1e-3  # the pictures do not all look alike
    apart = np.concatenate([detector.probabilities(rows) for rows in batch.split(3)])
    np.testing.assert_allclose(apart, whole, atol=1e-6)
    turned = detector.probabilities(batch.flip(0))
    np.testing.assert_allclose(turned[::-1], whole, atol=1e-6)


def test_a_detector_is_an_extractor_of_the_features_before_its_classification(folders, detectors):
    for name in ("one", "vit"):
        network = detectors[name].network
        extractor = load_extractor(folders[name])
        with torch.inference_mode():
            expected = network.classifier(extractor.features(pictures(5)))
            found = torch.from_numpy(detectors[name].probabilities(pictures(5)))
        expected = expected.sigmoid() if name == "vit" else expected.softmax(1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert extractor.sha256 == detectors[name].sha256


def test_labels_are_known_before_the_weights_are_read(folders, detectors, tmp_path):
    for name, detector in detectors.items():
        assert read_labels(folders[name], detector.sha256) == detector.labels
    for file in folders["one"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    assert read_labels(tmp_path) == LABELS
    with pytest.raises(DataError, match="is no readable .* image classifier"):
        load_classifier(tmp_path)


def test_another_checksum_is_refused(folders):
    for read in (load_classifier, read_labels):
        with pytest.raises(DataError, match="has the checksum"):
            read(folders["one"], "0" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"problem_type": "regression"},
        {"id2label": {"0": "bag"}},
        {"auto_map": {"AutoConfig": "code.Config"}, "model_type": "no-such-model"},
        {"id2label": {"0": "bag", "1": "coat", "2": "boot", "3": "hat"}},
    ],
)
def test_what_is_no_classifier_is_refused(folders, tmp_path, change):
    for file in folders["one"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(DataError, match="is no readable .* image classifier: give a folder"):
        load_classifier(tmp_path)


def test_a_network_without_a_classification_is_refused(tmp_path):
    config = transformers.ViTConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=8,
    )  # fmt: skip
    save(transformers.ViTModel(config), tmp_path)
    with pytest.raises(DataError, match="image classifier"):
        load_classifier(tmp_path)


def test_an_unknown_label_is_answered_with_those_that_are_known():
    with pytest.raises(ConfigError) as error:
        check_labels(["coat", "bags"], LABELS, "evaluate.detector_labels")
    assert str(error.value) == (
        "evaluate.detector_labels names 'bags', which the detector does not know: it has 'bag', "
        "'coat', 'boot'. Did you mean 'bag'?"
    )
    many = [f"class {i}" for i in range(1000)]
    with pytest.raises(ConfigError, match="'class 11' and 988 more"):
        check_labels(["zebra"], many, "evaluate.detector_labels")


def test_many_labels_are_named_by_their_number_and_a_digest():
    assert name_labels(["bag", "boot"]) == "bag + boot"
    long = [f"class {i}" for i in range(50)]
    assert name_labels(long).startswith("50 labels ")
    assert name_labels(long) != name_labels([*long[:-1], "another"])
