"""A model that takes labels, and what the words of a request say of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from efface.diffusion.model_folder import ModelInfo
from efface.records import Evaluation, RunRecord
from efface.requests import words_of
from efface.requests.classes.settings import ClassSettings
from efface.settings.base import Settings, read_settings


def limits(record: RunRecord, evaluation: Evaluation) -> str:
    return " ".join(words_of(record.request).limits(record, evaluation))


@pytest.fixture
def model_info() -> Callable[..., ModelInfo]:
    def info(classes: int | None = 10) -> ModelInfo:
        return ModelInfo(
            source="some/model",
            on_hub=False,
            folder=Path("."),
            component="unet",
            network_class="UNet2DModel",
            vae=False,
            num_classes=classes,
            null_label=classes,
            default_steps=50,
            input_scale=1.0,
            index={},
        )

    return info


@pytest.fixture
def settings() -> Settings:
    """Of a request about labels."""
    return read_settings("class", ClassSettings)
