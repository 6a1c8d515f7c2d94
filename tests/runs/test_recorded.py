"""A finished run is read again as it was recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import efface
from efface.errors import ConfigError, RequestError
from efface.runs.recorded import read_run


def test_request_and_settings_are_those_of_the_run(run: Path) -> None:
    recorded = read_run(run, [], "evaluate")
    assert recorded.request == efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    assert recorded.settings.to_json() == recorded.record.settings
    assert recorded.material.recorded() == recorded.record.material
    assert recorded.info.source == recorded.record.model["source"]


def test_a_change_is_taken_where_it_is_read_and_refused_elsewhere(run: Path) -> None:
    changed = read_run(run, ["evaluate.forget_samples=20"], "evaluate").settings
    assert changed.evaluate.forget_samples == 20
    assert changed.train == read_run(run, [], "evaluate").settings.train
    with pytest.raises(ConfigError, match="train.steps has no effect: to evaluate a run about"):
        read_run(run, ["train.steps=9"], "evaluate")
    with pytest.raises(ConfigError, match="evaluate.forget_samples has no effect: to attack"):
        read_run(run, ["evaluate.forget_samples=20"], "attack")


def test_a_run_that_forgot_nothing_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((run / "record.json").read_text())
    record["request"] = {"kind": "train"}
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    with pytest.raises(RequestError, match="kind 'train', of which there is nothing to attack"):
        read_run(tmp_path / "run", [], "attack")
