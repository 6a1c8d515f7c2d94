"""Which pictures has a model memorised: the command, its files, its false alarms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import efface
from tests.image_requests import Fails, run
from tests.image_requests import model as model
from tests.image_requests import pictures as pictures


def test_triage_writes_table_json_and_page(
    fails: Fails, model: Path, pictures: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    out = tmp_path / "triage"
    given = [
        "triage",
        str(model),
        "--images",
        str(pictures),
        "--unseen",
        "digits",
        "--out",
        str(out),
    ]
    changes = ["--set", "evaluate.samples=10", "--set", "evaluate.baseline_steps=2"]
    run(monkeypatch, *given, *changes)
    content = json.loads((out / "triage.json").read_text())
    assert len(content["findings"]) == 2
    # No unseen picture differs from the others to a model that was never trained.
    assert content["false_alarm_rate"] <= 0.15
    assert content["false_alarm_pictures"] >= 100
    assert "<b>one" not in (out / "triage.html").read_text()
    assert (out / "triage.csv").read_text().count("\n") == 3
    assert (out / "nearest.png").exists()
    assert "false alarms" in capsys.readouterr().out
    assert "nothing there was touched" in fails(*given, *changes)


def test_triage_needs_enough_unseen_pictures(fails: Fails, model: Path, pictures: Path) -> None:
    given = ("triage", str(model), "--images", str(pictures), "--unseen", str(pictures))
    assert "at least 118" in fails(*given)


@pytest.mark.slow
def test_triage_knows_the_memorised_picture_and_raises_few_false_alarms() -> None:
    """A model that draws digits has samples near unseen ones: that alone is no memory."""
    small = ["evaluate.samples=60", "evaluate.baseline_steps=8"]
    found = efface.triage("zoo:digits-symbol", "zoo:symbol", "digits", changes=small)
    assert [f.verdict for f in found.findings] == ["memorised"]
    assert found.false_alarm_rate <= 0.1
    same = efface.triage("zoo:digits-retrained", "zoo:symbol", "digits", changes=small)
    assert [f.verdict for f in same.findings] == ["not distinguishable from unseen"]
