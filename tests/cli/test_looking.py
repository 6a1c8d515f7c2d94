"""Commands that only look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from efface.cli import app
from efface.methods import names, resolve


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_every_method_is_listed_in_a_line() -> None:
    code, text = invoke("methods")
    assert code == 0
    for line, name in zip(text.splitlines(), names(), strict=True):
        assert line.split() == [name, *resolve(name).summary.split()]


def test_images_are_written_one_by_one_and_in_a_grid(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "images"
    more = ("--label", "3", "--label", "5", "--count", "2", "--steps", "1")
    code, text = invoke("sample", str(tiny_model), "--out", str(out), *more)
    assert code == 0 and "4 images and grid.png written" in text
    assert len(list(out.rglob("*.png"))) == 5


def test_a_run_that_does_not_fit_is_told_with_exit_code_1(tiny_model: Path, monkeypatch) -> None:
    code, text = invoke("preflight", str(tiny_model))
    assert code == 0 and "optimizer" in text
    monkeypatch.setattr("efface.memory.preflight.available_memory", lambda *_: 1000)
    code, text = invoke("preflight", str(tiny_model))
    assert code == 1 and "1 KB are free" in text


def test_an_unknown_section_of_settings_is_refused(fails: Callable[..., str]) -> None:
    assert "section 'trian' is unknown: there is" in fails("settings", "trian")
