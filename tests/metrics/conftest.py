"""Networks that tests of several metrics look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.metrics.clip import Clip, load_clip
from tests.metrics.clips import make_clip


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "tiny-clip")


@pytest.fixture(scope="session")
def clip(clip_folder: Path) -> Clip:
    return load_clip(clip_folder)
