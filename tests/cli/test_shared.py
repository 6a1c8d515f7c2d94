"""Every command can be quiet, say more, and be told where to compute."""

from __future__ import annotations

import os

import click
import pytest
import typer
from typer.testing import CliRunner

from efface import __version__, progress
from efface.cli import app
from efface.progress import note

ROOT = typer.main.get_command(app)
LIGHT = ("report", "compare", "runs", "convert", "methods", "settings", "doctor")


def commands(group: click.Command, path: tuple[str, ...] = ()) -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in getattr(group, "commands", {}).items():
        inner = commands(command, (*path, name))
        found |= inner or {" ".join((*path, name)): command}
    return found


@pytest.mark.parametrize("name", commands(ROOT))
def test_every_command_takes_the_shared_options(name: str) -> None:
    flags = {flag for parameter in commands(ROOT)[name].params for flag in parameter.opts}
    assert {"--quiet", "--verbose"} <= flags
    assert ("--device" in flags) is (name not in LIGHT)


@pytest.mark.parametrize("name", commands(ROOT))
def test_help_is_readable_in_80_columns(name: str) -> None:
    done = CliRunner().invoke(app, [*name.split(), "--help"], terminal_width=80)
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= 80
    for parameter in commands(ROOT)[name].params:
        assert parameter.help, f"{parameter.name} has no help"


def test_the_list_of_commands_cuts_no_sentence() -> None:
    done = CliRunner().invoke(app, ["--help"], terminal_width=80)
    listed = done.output.partition("Commands:")[2]
    assert "..." not in listed and listed.index("demo") < listed.index("forget")


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"efface {__version__}\n"


def test_a_quiet_command_leaves_notes_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "speech", progress.Speech())
    note("read 3 images")
    assert "read 3 images" in capsys.readouterr().err
    app(["methods", "--quiet"], standalone_mode=False)
    capsys.readouterr()
    note("read 3 images")
    assert capsys.readouterr().err == ""


def test_a_device_that_is_not_there_is_refused_and_another_is_used(
    monkeypatch: pytest.MonkeyPatch, fails, tmp_path
) -> None:
    monkeypatch.delenv("ACCELERATE_TORCH_DEVICE", raising=False)
    sentence = fails("sample", "zoo:digits", "--out", tmp_path / "new", "--device", "warp:9")
    assert "--device warp:9 cannot be used" in sentence
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "")
    assert "no model" in fails("sample", "none", "--out", tmp_path / "new", "--device", "cpu")
    assert os.environ["ACCELERATE_TORCH_DEVICE"] == "cpu"
