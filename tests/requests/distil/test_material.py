"""Prompts of a model to distil: all are retained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator

from efface.data.prompts import SUBJECTS, TEMPLATES
from efface.data.randomness import Shard
from efface.diffusion.model_folder import inspect_model
from efface.errors import RequestError
from efface.requests.distil.request import Distil
from efface.settings.base import Settings, read_settings
from tests.text_pipelines import load_text


def settings(*changes: str) -> Settings:
    return read_settings(Distil.section, Distil.own, changes=changes)


def test_prompts_come_from_a_file_or_from_templates(
    pipelines: Callable[[str], Path], tmp_path: Path
) -> None:
    info, file = inspect_model(pipelines("pixart_sigma")), tmp_path / "retain.txt"
    file.write_text("a cat\na dog\na horse\n")
    material = Distil(retain_prompts=str(file)).read(info, settings("distil.retain=2"))
    assert material.retained(settings()).asked == ("a cat", "a dog")
    templates = Distil().read(info, settings())
    found = templates.retained(settings()).asked
    assert found is not None and len(found) == len(TEMPLATES) * len(SUBJECTS)
    assert material.recorded() != templates.recorded()


def test_every_row_is_retained(pipelines: Callable[[str], Path], tmp_path: Path) -> None:
    file = tmp_path / "retain.txt"
    file.write_text("a cat\na dog\n")
    own = settings("train.batch_size=4")
    material = Distil(retain_prompts=str(file)).read(inspect_model(pipelines("sd")), own)
    assert material.amounts(own).forget_rows == 0
    feed = material.feed(load_text(pipelines("sd")), own, tmp_path, Accelerator())
    batch = feed.source.batch(0, Shard())
    assert (batch.retain.size, batch.forget.size, batch.negative) == (4, 0, None)
    assert feed.retained is not None and len(feed.retained) == 2


def test_prompts_that_are_too_long_are_refused(
    pipelines: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "retain.txt"
    file.write_text("a cat that is too long for this model\n")
    with pytest.raises(RequestError, match="shorten it"):
        Distil(retain_prompts=str(file)).read(inspect_model(pipelines("sd")), settings())
    file.write_text("a cat\na cat that is too long for this model\na dog\n")
    material = Distil(retain_prompts=str(file)).read(inspect_model(pipelines("sd")), settings())
    assert material.retained(settings()).asked == ("a cat", "a dog")
