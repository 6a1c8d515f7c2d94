"""What `efface settings` prints."""

from __future__ import annotations

import importlib
from typing import Any

from typer.testing import CliRunner

from efface.cli import app
from efface.settings.listing import describe, list_section
from efface.training.settings import TrainSettings


def test_a_setting_is_listed_with_type_range_default_and_meaning():
    rows = {row.name: row for row in list_section("train", TrainSettings)}
    steps, clip, dtype = rows["train.steps"], rows["train.clip_norm"], rows["train.base_dtype"]
    assert (steps.type, steps.default) == ("int", "1000") and steps.range.startswith("≥ 1")
    assert (clip.type, clip.default) == ("float or none", "none") and clip.range.startswith("> 0")
    assert dtype.type == "float32 or bfloat16" and dtype.range == ""
    assert all(row.description for row in rows.values())


FOREIGN = """
from pydantic import BaseModel, Field


class Brightness(BaseModel):
    above: float = 0.5
    \"\"\"Mean of the pixels.\"\"\"
    below: float = Field(1.0, description="The other end.")
    silent: int = 0


def make():
    class Inner(Brightness):
        more: int = 1
        \"\"\"Within a function.\"\"\"

    return Inner
"""


def test_a_section_of_another_package_is_described_too(tmp_path, monkeypatch):
    (tmp_path / "brightness_elsewhere.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("brightness_elsewhere")
    own = {"above": "Mean of the pixels.", "below": "The other end.", "silent": ""}
    assert describe(module.Brightness) == own
    assert describe(module.make()) == own | {"more": "Within a function."}


def test_a_section_without_a_source_is_described_by_its_fields():
    space: dict[str, Any] = {"__name__": "nowhere"}
    exec(FOREIGN, space)
    assert describe(space["Brightness"]) == {"above": "", "below": "The other end.", "silent": ""}


def test_the_command_lists_all_sections_or_one():
    everything = CliRunner().invoke(app, ["settings"], env={"COLUMNS": "200"}).output
    for name in ("method.alpha", "train.steps", "evaluate.seed", "images.samples", "distil.retain"):
        assert name in everything
    one = CliRunner().invoke(app, ["settings", "method", "--method", "siss"]).output
    assert "method.mixture" in one and "train.steps" not in one


def test_no_run_lists_the_settings_of_those_that_build_models():
    everything = CliRunner().invoke(app, ["settings"], env={"COLUMNS": "200"}).output
    for name in ("network.", "data.", "scenes.", "autoencoder.", "judge."):
        assert f" {name}" not in everything
