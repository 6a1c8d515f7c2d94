"""What the tests of models on disk share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A pipeline folder to break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))
