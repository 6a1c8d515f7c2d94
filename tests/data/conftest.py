"""What the tests of data share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str, encoding: str = "utf-8", newline: str | None = None) -> str:
        (tmp_path / name).write_text(content, encoding=encoding, newline=newline)
        return str(tmp_path / name)

    return write
