"""Pictures drawn to a sheet from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from efface.cli import app
from efface.errors import RequestError
from efface.runs.sample import draw_sheet
from tests.diffusion.text.conftest import pipelines as pipelines

Pipelines = Callable[[str], Path]


def test_prompts_are_drawn_to_a_sheet(pipelines: Pipelines, tiny_model: Path, tmp_path: Path):
    given = ["sample", str(pipelines("sd")), "--count", "2", "--steps", "2"]
    given += ["--prompt", "a red bag", "--prompt", "a coat", "--out", str(tmp_path / "sheet")]
    told = CliRunner().invoke(app, given)
    assert told.exit_code == 0 and "4 images" in told.output
    names = sorted(path.name for path in (tmp_path / "sheet").iterdir())
    assert names[0] == "grid.png" and names[1:] == [
        f"prompt{n:04d}_{i:05d}.png" for n in range(2) for i in range(2)
    ]
    first = [(tmp_path / "sheet" / name).read_bytes() for name in names[1:]]
    assert len(set(first)) == 4
    with pytest.raises(RequestError, match="takes no prompts"):
        draw_sheet(tiny_model, tmp_path / "no", ["a bag"], 1, 0, None, 1.0)
