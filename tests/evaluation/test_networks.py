"""Which networks the settings name, and which real images there is nothing to compare with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from efface.data.images import load_images
from efface.diffusion.loading import save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.errors import DataError, RequestError
from efface.evaluation.networks import check_networks, pixels_of, read_views
from efface.evaluation.store import Store
from efface.evaluation.views import ExtractorView
from efface.settings.evaluate import EvaluateSettings
from tests.tiny import make_tiny_unet

DIGITS = EvaluateSettings(reference="digits")


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


def test_a_network_that_is_not_there_is_named(tiny_model: Path) -> None:
    info = inspect_model(tiny_model)
    check_networks(DIGITS, info)
    with pytest.raises(DataError, match="nowhere"):
        check_networks(EvaluateSettings(extractor="nowhere"), info)
