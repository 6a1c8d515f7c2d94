"""Images written as files and as one sheet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from efface.cli import app
from efface.errors import RequestError
from efface.runs.sample import sample

Pipelines = Callable[[str], Path]


def test_prompts_are_sampled_to_a_sheet(pipelines: Pipelines, tiny_model: Path, tmp_path: Path):
    given = ["sample", str(pipelines("sd")), "--count", "2", "--steps", "2"]
    given += ["--prompt", "a red bag", "--prompt", "a coat", "--out", str(tmp_path / "sheet")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0 and "4 images" in done.output
    names = sorted(path.name for path in (tmp_path / "sheet").iterdir())
    assert names[0] == "grid.png" and names[1:] == [
        f"prompt{n:04d}_{i:05d}.png" for n in range(2) for i in range(2)
    ]
    first = [(tmp_path / "sheet" / name).read_bytes() for name in names[1:]]
    assert len(set(first)) == 4
    with pytest.raises(RequestError, match="takes no prompts"):
        sample(tiny_model, tmp_path / "no", prompts=["a bag"], count=1)


def test_labels_are_sampled_to_one_file_per_image(tiny_model: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet"
    assert sample(tiny_model, sheet, labels=[1, 2], count=3, steps=1) == 6
    assert len(list(sheet.glob("label*.png"))) == 6
    with pytest.raises(RequestError, match="nothing there was touched"):
        sample(tiny_model, sheet, labels=[1], count=1)
