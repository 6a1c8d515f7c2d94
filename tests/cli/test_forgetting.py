"""The command of a kind of request is made from its fields."""

from __future__ import annotations

import os
import signal
import sys

import click
import pytest
import typer
from typer.testing import CliRunner

from efface.cli import app, main
from efface.cli.forgetting import ALWAYS, SOMETIMES, make_request, request_command
from efface.errors import RequestError, Stopped
from efface.requests import kinds
from efface.requests.base import Request


def command_of(kind: type[Request]) -> click.Command:
    own = typer.Typer(add_completion=False)
    own.command()(request_command(kind))
    return typer.main.get_command(own)


@pytest.mark.parametrize("name", kinds())
def test_a_command_takes_the_fields_of_its_kind_and_what_the_kind_allows(name: str) -> None:
    kind = kinds()[name]
    parameters = {parameter.name: parameter for parameter in command_of(kind).params}
    fields = set(kind.model_fields) - {"kind", "earlier"}
    allowed = set(SOMETIMES) & kind.options
    assert set(parameters) == {"model", "out"} | fields | allowed | set(ALWAYS)
    for field in fields:
        assert parameters[field].required is kind.model_fields[field].is_required()
    required = [parameter.required for parameter in parameters.values()]
    assert required == sorted(required, reverse=True)  # the help begins with what must be given


def test_a_field_of_several_values_is_an_option_that_can_be_repeated() -> None:
    given = {parameter.name: parameter for parameter in command_of(kinds()["class"]).params}
    assert given["labels"].multiple and given["labels"].opts == ["--label"]
    assert not given["recipe"].multiple


def test_what_must_be_given_is_asked_for() -> None:
    done = CliRunner().invoke(app, ["forget", "class", "zoo:digits", "--out", "run"])
    assert done.exit_code == 2 and "--label" in done.output


def test_several_of_a_kind_are_one_request_each_with_its_own() -> None:
    concept, images = kinds()["concept"], kinds()["images"]
    made = make_request(concept, {"concept": ["bag", "cup"], "replacement": ["coat", "pen"]})
    assert [
        one.model_dump(include={"concept", "replacement"}) for one in (*made.earlier, made)
    ] == [
        {"concept": "bag", "replacement": "coat"},
        {"concept": "cup", "replacement": "pen"},
    ]
    both = make_request(kinds()["memorised"], {"prompt": ["a bag", "a cup"]})
    assert [one.prompt for one in both.together] == ["a bag", "a cup"]
    shared = make_request(concept, {"concept": ["bag", "cup"], "replacement": ["pen"]})
    assert [one.model_dump()["replacement"] for one in (*shared.earlier, shared)] == ["pen"] * 2
    folders = make_request(images, {"images": ["a", "b", "c"], "retain": "digits"})
    assert [one.model_dump()["images"] for one in folders.earlier] == ["a", "b"]
    assert make_request(images, {"images": ["a"]}).earlier == ()
    with pytest.raises(RequestError, match="--replace was given 2 times and another option 3"):
        make_request(concept, {"concept": ["a", "b", "c"], "replacement": ["d", "e"]})
    with pytest.raises(RequestError, match="--also is about one, and 2 were given"):
        make_request(concept, {"concept": ["a", "b"], "replacement": ["d"], "also": ["c"]})


@pytest.mark.parametrize(
    ("stop", "sentence", "code"),
    [
        (KeyboardInterrupt(), "stopped", 130),
        (Stopped("", signal.SIGTERM), "stopped", 143),
        (Stopped("at step 3; add --resume", signal.SIGINT), "at step 3; add --resume", 130),
        (
            Stopped("stopped at step 3; add --resume", signal.SIGTERM),
            "at step 3; add --resume",
            143,
        ),
    ],
)
@pytest.mark.parametrize("command", ["methods", "forget class zoo:digits --label 0 --out nothing"])
def test_what_is_stopped_says_so_and_exits_as_the_signal_asks(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stop: KeyboardInterrupt,
    sentence: str,
    code: int,
    command: str,
) -> None:
    def interrupted(*arguments: object, **named: object) -> None:
        raise stop

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("efface.methods.names", interrupted)
    monkeypatch.setattr("efface.runs.forget.forget", interrupted)
    monkeypatch.setattr(sys, "argv", ["efface", *command.split()])
    with pytest.raises(SystemExit) as left:
        main()
    signal.signal(signal.SIGTERM, before)
    assert left.value.code == code
    written = capsys.readouterr().err
    assert sentence in written and written.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_outside_a_command_is_one_sentence_too(
    number: int,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("efface.cli.app", lambda: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as left:
        main()
    signal.signal(signal.SIGTERM, before)
    assert left.value.code == code
    assert capsys.readouterr().err == "efface: stopped\n"
