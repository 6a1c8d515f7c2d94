"""What commands print is what was said, and of a run what there is of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.cli.output import say, tell


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = "[bold]no markup[/bold] " + "and never wrapped " * 20
    say(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_a_run_without_evaluation_has_a_model_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(tmp_path)
    assert capsys.readouterr().out == f"model: {tmp_path / 'pipeline'}\n"
