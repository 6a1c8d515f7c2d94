"""Commands that measure and prove: what is refused is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize("command", ["evaluate", "attack", "report", "compare"])
def test_a_folder_that_is_no_run_is_refused_by_every_command(
    command: str, fails: Callable[..., str], tmp_path: Path
) -> None:
    sentence = fails(command, tmp_path)
    assert "record.json" in sentence and not list(tmp_path.iterdir())


def test_a_pack_that_is_none_is_no_proof(
    fails: Callable[..., str], tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "pack.zip").write_bytes(b"PK no pack")
    assert "pack.zip" in fails("verify", tmp_path / "pack.zip", "--model", tiny_model)
