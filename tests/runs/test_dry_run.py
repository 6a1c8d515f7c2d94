"""A dry run says what a run would do, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from efface.errors import ConfigError, RequestError
from efface.requests.classes.request import ForgetClass
from efface.runs.dry_run import dry_run

SMALL = ("train.steps=2000", "train.batch_size=4", "evaluate.retain_samples=20")


def test_it_says_what_a_run_would_do_and_writes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    rows = dry_run(
        tiny_model, ForgetClass(labels=(0,)), tmp_path / "run", changes=SMALL, measure=False
    )
    assert rows["forget"] == "label 0" and rows["evaluation"] == "none"
    assert rows["training"].startswith("2,000 steps of 4 samples, about ")
    assert "free on" in rows["memory"] and not list(tmp_path.iterdir())
    assert torch.equal(state, torch.random.get_rng_state())


def test_it_refuses_what_a_run_refuses(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="label 77"):
        dry_run(tiny_model, ForgetClass(labels=(77,)), tmp_path / "run")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RequestError, match="nothing there was touched"):
        dry_run(tiny_model, ForgetClass(labels=(0,)), tmp_path, changes=SMALL)
    with pytest.raises(ConfigError, match="train.stepz"):
        dry_run(tiny_model, ForgetClass(labels=(0,)), tmp_path, changes=["train.stepz=1"])


def test_the_command_prints_it(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fails: Callable[..., str],
) -> None:
    out = tmp_path / "run"
    words = ["forget", "class", str(tiny_model), "--label", "0", "--out", str(out), "--dry-run"]
    words += ["--no-evaluate", "--set", "train.steps=3", "--set", "train.batch_size=4"]
    from efface.cli import app

    assert app(words, standalone_mode=False) is None
    assert "3 steps of 4 samples" in capsys.readouterr().out and not out.exists()
