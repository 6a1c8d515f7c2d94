"""Which networks the settings name, and which real images there is nothing to compare with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from efface.data.images import ImageSet, load_images
from efface.diffusion.loading import save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.errors import DataError, RequestError
from efface.evaluation.networks import check_networks, pixels_of, read_views, with_images
from efface.evaluation.store import Store
from efface.evaluation.views import ExtractorView
from efface.metrics.judge import Classifier, Judge, foreign_judge, load_judge
from efface.settings.evaluate import EvaluateSettings
from tests.tiny import make_tiny_unet

DIGITS = EvaluateSettings(reference="digits")


class Levels(Classifier):
    """Sees a label for each of ten levels of brightness."""

    def look(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        levels = images.mean((1, 2, 3))
        return levels[:, None], -1000 * (levels[:, None] * 10 - torch.arange(10)) ** 2

    def to(self, device: torch.device | str) -> Levels:
        return self


def foreign(*names: str, null_label: int | None = None) -> Judge:
    labels = names or [f"LABEL_{i}" for i in range(10)]
    judge = foreign_judge(Levels(), "levels", "0" * 64, labels)
    return judge if null_label is None else judge.numbered_as(null_label)


def real(labels: list[int] | None, *names: str) -> ImageSet:
    """Images of brightness 0, 0.1, 0.2 and so on, called by given labels."""
    images = (torch.arange(10) * 25.5).round().byte()[:, None, None, None].expand(-1, 1, 8, 8)
    given = None if labels is None else torch.tensor(labels)
    return ImageSet(images=images, labels=given, label_names=names)


def test_a_foreign_classifier_compares_with_real_images_and_says_how_often_it_is_right() -> None:
    judge = with_images(foreign(null_label=3), real([*range(9), 0]), Store(None))
    assert judge.reference_labels.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 0]
    np.testing.assert_allclose(judge.reference[:, 0], np.arange(10) / 10, atol=2e-3)
    exact = binomtest(9, 10).proportion_ci(0.95, "exact")
    said = judge.reported()
    assert (said["reference_accuracy"], said["reference_images"]) == (0.9, 10)
    assert said["reference_interval"] == pytest.approx([exact.low, exact.high], abs=1e-6)
    assert said["held_out_accuracy"] is None and len(said["reference_sha256"]) == 64


def test_unlabelled_images_give_features_alone() -> None:
    judge = with_images(foreign(), real(None), Store(None))
    assert len(judge.reference_without([0, 1])) == 10
    assert "reference_accuracy" not in judge.reported()


def test_labels_are_matched_by_name_where_both_have_names() -> None:
    names = "jihgfedcba"
    judge = with_images(foreign(*names), real([0] * 10, "A"), Store(None))
    assert set(judge.reference_labels) == {9}
    assert judge.reported()["reference_accuracy"] == 0.1
    for wrong in (real([0] * 10, "A", "z"), real([10] * 10)):
        with pytest.raises(DataError, match="not those of the classifier levels"):
            with_images(foreign(*names), wrong, Store(None))


def test_a_classifier_with_training_images_of_its_own_keeps_them(tiny_model: Path) -> None:
    own = load_judge(tiny_model / "judge")
    view = read_views(own, DIGITS, (1, 8, 8), torch.device("cpu"), Store(None))["judge"]
    assert view.compared_with == own.reference_digest


def test_real_images_are_seen_by_their_pixels_at_the_size_of_the_samples() -> None:
    views = read_views(None, DIGITS, (1, 8, 8), torch.device("cpu"), Store(None))
    assert views.keys() == {"extractor"}
    view, digits = views["extractor"], load_images("digits", "train")
    assert isinstance(view, ExtractorView) and view.labels is not None and digits.labels is not None
    assert view.labels.tolist() == digits.labels.tolist()
    assert len(view.real) == len(digits) and not view.of_original


def test_pixels_of_large_samples_say_too_little(tmp_path: Path) -> None:
    save_pipeline(make_tiny_unet(), tmp_path / "large")
    file = tmp_path / "large" / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_size": 64}))
    info = inspect_model(tmp_path / "large")
    assert pixels_of(info) == (1, 64, 64)
    with pytest.raises(RequestError, match="evaluate.extractor"):
        check_networks(DIGITS, info)
    check_networks(DIGITS, info, foreign())  # which compares with them itself
    views = read_views(foreign(), DIGITS, None, torch.device("cpu"), Store(None))
    assert views.keys() == {"judge"}


def test_a_network_that_is_not_there_is_named(tiny_model: Path) -> None:
    info = inspect_model(tiny_model)
    check_networks(DIGITS, info)
    with pytest.raises(DataError, match="nowhere"):
        check_networks(EvaluateSettings(extractor="nowhere"), info)
