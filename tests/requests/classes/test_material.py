"""Labels to forget and to retain: what the loop is fed with, and what tells whether one is back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

import efface
from efface.data.randomness import Shard
from efface.data.source import ConditionSource
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.model_folder import inspect_model
from efface.errors import RequestError
from efface.requests.classes.material import ClassMaterial
from efface.requests.classes.settings import ClassSettings
from efface.settings.base import Settings, read_settings

ZERO = efface.ForgetClass(labels=(0, 3), replacement=(1,))


@pytest.fixture
def settings() -> Settings:
    changes = ["train.batch_size=8", "method.forget_share=0.5"]
    return read_settings("class", ClassSettings, changes=changes)


@pytest.fixture
def material(tiny_model: Path, settings: Settings) -> ClassMaterial:
    return ZERO.read(inspect_model(tiny_model), settings)


def test_a_request_names_all_labels(material, settings):
    assert material.replacements == {0: (1,), 3: (1,)} and material.forget == (0, 3)
    assert material.retain == material.retained(settings).asked == (1, 2, 4, 5, 6, 7, 8, 9)
    assert material.digest == "" and material.recorded() == {}
    assert material.amounts(settings).forget_rows == 4


def test_rows_to_forget_have_the_replacement_as_target(
    material, settings, tiny_unet: Callable[..., Denoiser], tmp_path
):
    feed = material.feed(tiny_unet(), settings, tmp_path, Accelerator())
    assert isinstance(feed.source, ConditionSource) and not feed.source.forget_dropout
    batch = feed.source.batch(0, Shard())
    forget, target = (
        side.tensors["class_labels"] for side in (batch.forget.condition, batch.forget.target)
    )
    assert set(forget.tolist()) <= {0, 3} and set(target.tolist()) == {1} and len(forget) == 4
    retain = batch.retain.condition.tensors["class_labels"]
    assert len(retain) == 8 and not set(retain.tolist()) & {0, 3}
    assert feed.retained.tensors["class_labels"].tolist() == list(material.retain)


def test_a_distilled_model_forgets_no_row(settings, tiny_unet: Callable[..., Denoiser], tmp_path):
    everything = ClassMaterial(retain=tuple(range(10)), replacements={})
    feed = everything.feed(tiny_unet(), settings, tmp_path, Accelerator())
    batch = feed.source.batch(3, Shard())
    assert batch.forget.size == 0 and batch.retain.size == 8
    assert everything.amounts(settings).forget_rows == 0


def test_a_classifier_tells_whether_a_label_is_back(material, settings, tiny_model, tmp_path):
    found = material.finder(inspect_model(tiny_model), settings, None)
    assert found.name.startswith("tiny")
    alone = Path(shutil.copytree(tiny_model, tmp_path / "alone"))
    shutil.rmtree(alone / "judge")
    with pytest.raises(RequestError, match="--judge"):
        material.finder(inspect_model(alone), settings, None)
    given = material.finder(inspect_model(alone), settings, tiny_model / "judge")
    assert given.digest == found.digest
    assert torch.is_grad_enabled()
