"""Which images has a model memorised: the command, its files, its false alarms."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import efface
from efface.requests.images import triage


def test_triage_writes_table_json_and_page(
    fails: Callable[..., str],
    model: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., None],
) -> None:
    monkeypatch.setattr(triage, "UNSEEN", 120)
    monkeypatch.setattr(triage, "DRAWS", 1)
    images = Path(shutil.copytree(images, tmp_path / "images"))
    (images / "two.png").rename(images / "=1+1.png")
    out = tmp_path / "triage"
    given = ["triage", str(model), "--images", str(images), "--unseen", "digits"]
    given += ["--out", str(out)]
    changes = ["--set", "images.samples=10", "--set", "evaluate.baseline_steps=2"]
    command(*given, *changes)
    content = json.loads((out / "triage.json").read_text())
    assert len(content["findings"]) == 2
    # No unseen image differs from the others to a model that was never trained.
    assert content["false_alarm_rate"] <= 0.15
    assert content["false_alarm_images"] == content["unseen"] == 60
    assert "<b>one" not in (out / "triage.html").read_text()
    with (out / "triage.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert "'=1+1.png" in [row["name"] for row in rows] and len(rows) == 2
    assert (out / "nearest.png").exists()
    assert "false alarms" in capsys.readouterr().out
    assert "nothing there was touched" in fails(*given, *changes)


def test_triage_needs_enough_unseen_images(
    fails: Callable[..., str], model: Path, images: Path
) -> None:
    given = ("triage", str(model), "--images", str(images), "--unseen", str(images))
    assert "at least 118" in fails(*given)


@pytest.mark.slow
def test_triage_knows_the_memorised_image_and_raises_few_false_alarms() -> None:
    """A model that draws digits has samples near unseen ones: that alone is no memory."""
    small = ["images.samples=60", "evaluate.baseline_steps=8"]
    found = efface.triage("zoo:digits-symbol", "zoo:symbol", "digits", changes=small)
    assert [f.verdict for f in found.findings] == ["memorised"]
    assert found.false_alarm_rate <= 0.1
    same = efface.triage("zoo:digits-retrained", "zoo:symbol", "digits", changes=small)
    assert [f.verdict for f in same.findings] == ["not distinguishable from unseen"]
