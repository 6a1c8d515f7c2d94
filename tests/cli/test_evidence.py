"""Commands that measure and prove: what is refused is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from efface.cli import app
from tests.benchmark.conftest import SHORT, written


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


def test_a_benchmark_is_refused_by_its_file_alone(
    fails: Callable[..., str], tmp_path: Path
) -> None:
    file = written(tmp_path, SHORT.replace("seeds = [10]", ""))
    assert "bench.seeds is missing" in fails("bench", file, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_benchmark_can_be_foreseen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = written(tmp_path, SHORT), tmp_path / "out"
    assert app(["bench", str(file), "--out", str(out), "--dry-run"], standalone_mode=False) is None
    printed = capsys.readouterr().out
    assert "redirection" in printed and "2 runs are left" in printed and not out.exists()


def test_a_benchmark_with_a_run_that_fails_exits_with_1(
    fails: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("efface.benchmark.engine.work", lambda job, runs: "the disk is full")
    fails("bench", written(tmp_path, SHORT), "--out", tmp_path / "out")
    assert "the disk is full" in (tmp_path / "out" / "bench.html").read_text()
