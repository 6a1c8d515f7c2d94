"""Every option of every command says what it is for."""

from __future__ import annotations

from collections.abc import Iterator

import click
import typer

from efface.cli import app


def commands(group: click.Command, name: str = "efface") -> Iterator[tuple[str, click.Command]]:
    if isinstance(group, click.Group):
        for own, command in group.commands.items():
            yield from commands(command, f"{name} {own}")
    else:
        yield name, group


def test_every_argument_and_option_has_a_help_text() -> None:
    own = [
        (name, parameter.name)
        for name, command in commands(typer.main.get_command(app))
        for parameter in command.params
        if not getattr(parameter, "help", None) and parameter.name != "help"
    ]
    assert own == []


def test_every_command_has_a_sentence_of_its_own() -> None:
    sentences = [command.help for _, command in commands(typer.main.get_command(app))]
    assert all(sentences) and len(set(sentences)) == len(sentences)
