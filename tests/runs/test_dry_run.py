"""A dry run says what a run would do, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from efface.cli import app
from efface.requests.classes.request import ForgetClass
from efface.runs.dry_run import dry_run
from efface.runs.plan import make_plan
from tests.tiny import BAG

SMALL = ("train.steps=2000", "train.batch_size=4", "evaluate.retain_samples=20")


def test_it_says_what_a_run_would_do_and_writes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    plan = make_plan(tiny_model, ForgetClass(labels=(0,)), changes=SMALL, measure=False)
    rows = dry_run(plan, tmp_path / "run", measure=False)
    assert rows["forget"] == "label 0" and rows["evaluation"] == "none"
    assert rows["training"].startswith("2,000 steps of 4 samples, about ")
    assert "free on" in rows["memory"] and not list(tmp_path.iterdir())
    assert torch.equal(state, torch.random.get_rng_state())


def test_it_refuses_what_a_run_refuses(
    tiny_model: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    words = ("forget", "class", tiny_model, "--dry-run", "--out")
    assert "label 77" in fails(*words, tmp_path / "run", "--label", 77)
    (tmp_path / "notes.txt").touch()
    assert "nothing there was touched" in fails(*words, tmp_path, "--label", 0)


def test_the_command_prints_it(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["forget", "class", str(tiny_model), "--label", "0", "--out", str(out), "--dry-run"]
    words += ["--no-evaluate", "--set", "train.steps=3", "--set", "train.batch_size=4"]
    assert app(words, standalone_mode=False) is None
    assert "3 steps of 4 samples" in capsys.readouterr().out and not out.exists()


def test_a_method_that_trains_nothing_says_so(
    pipelines: Callable[[str], Path], tmp_path: Path
) -> None:
    changes = ('concept.templates=["a {}"]', 'concept.subjects=["cat"]')
    plan = make_plan(pipelines("sd"), BAG, method="uce", changes=changes, measure=False)
    text = dry_run(plan, tmp_path / "run", measure=False)["training"]
    assert text.startswith("none, weights are edited in closed form, about ")
