"""Settings as the kinds of request read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efface.requests import kinds, sections
from efface.settings.base import Settings, read_settings


@pytest.fixture(scope="session")
def read() -> Callable[..., Settings]:
    """`read_settings` for a kind of request: classes, unless another is named."""

    def settings(*changes: str, kind: str = "class", **more: Any) -> Settings:
        request = kinds()[kind]
        given = {"default_method": request.default_method, "others": sections()} | more
        return read_settings(request.section, request.own, changes=changes, **given)

    return settings


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(
        "[method]\nname = 'sfd'\nalpha = 1.0\n"
        "[train]\nsteps = 10\nbatch_size = 4\n"
        "[concept]\nretain = 7\n"
        "[expected]\nfid = 3\n"
    )
    return path
