"""Write docs/reference/cli.md from the commands: `python docs/generate_cli.py`."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

from efface.cli import app

PAGE = Path(__file__).parent / "reference" / "cli.md"
INTRODUCTION = """\
# Command line

`python docs/generate_cli.py` writes this page from the commands. `efface COMMAND --help` prints the
same on the terminal. A command that fails prints one sentence and exits with 1; a run that was
stopped exits with 130 (Ctrl-C) or 143 (SIGTERM) and continues with `--resume`.
"""
VALUES = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH", bool: ""}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """An argument or an option of a command."""

    name: str  # as it is typed
    value: str
    meaning: str
    required: bool
    is_option: bool


def page() -> str:
    parts = [INTRODUCTION]
    if app.registered_callback is not None and app.registered_callback.callback is not None:
        shared = _parameters(app.registered_callback.callback)
        parts.append(f"## Options of all commands\n\n{_table('option', shared)}")
    parts += [_section(path, command) for path, command in _commands("efface", app)]
    return "\n".join(parts)


def _commands(path: str, group: typer.Typer) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command with its full name, those of subgroups first."""
    for info in group.registered_groups:
        if info.typer_instance is not None:
            yield from _commands(f"{path} {info.name}", info.typer_instance)
    for info in group.registered_commands:
        if info.callback is not None and not info.hidden:
            name = info.name or info.callback.__name__.replace("_", "-")
            yield f"{path} {name}", info.callback


def _section(path: str, command: Callable[..., Any]) -> str:
    parameters = _parameters(command)
    arguments = [p for p in parameters if not p.is_option]
    options = [p for p in parameters if p.is_option]
    usage = [path]
    usage += [p.name if p.required else f"[{p.name}]" for p in arguments]
    usage += [f"{p.name} {p.value}" for p in options if p.required]
    usage += ["[OPTIONS]"] if any(not p.required for p in options) else []
    text = f"## {path}\n\n{inspect.getdoc(command)}\n\n```text\n{' '.join(usage)}\n```\n"
    for kind, given in (("argument", arguments), ("option", options)):
        text += f"\n{_table(kind, given)}" if given else ""
    return text


def _table(kind: str, parameters: Sequence[Parameter]) -> str:
    rows = [(kind, "value", "meaning"), ("---",) * 3]
    rows += [(f"`{p.name}`", p.value, p.meaning) for p in parameters]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _parameters(command: Callable[..., Any]) -> list[Parameter]:
    given = inspect.signature(command, eval_str=True).parameters.values()
    return [_parameter(p) for p in given if p.annotation is not typer.Context]


def _parameter(parameter: inspect.Parameter) -> Parameter:
    annotation, info = _split(parameter.annotation)
    default = parameter.default
    required = default is inspect.Parameter.empty
    is_option = not isinstance(info, ArgumentInfo)
    meaning = ((info.help if info is not None else None) or "").replace("|", "\\|")
    if not required and default is not None and default is not False:
        meaning = f"{meaning} Default: `{default}`.".strip()
    flag = ", ".join(_flags(info)) or f"--{parameter.name.replace('_', '-')}"
    name = parameter.name.upper() + ("..." if get_origin(annotation) is list else "")
    return Parameter(
        name=flag if is_option else name,
        value=_value(annotation),
        meaning=meaning,
        required=required,
        is_option=is_option,
    )


def _flags(info: ParameterInfo | None) -> list[str]:
    """Names that are given explicitly; in an annotation typer takes the first for a default."""
    given = () if info is None else (info.default, *(info.param_decls or ()))
    return [text for text in given if isinstance(text, str) and text.startswith("-")]


def _split(annotation: Any) -> tuple[Any, ParameterInfo | None]:
    """The type without None, and what typer knows of the parameter."""
    info = None
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        info = next((n for n in notes if isinstance(n, (ArgumentInfo, OptionInfo))), None)
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return annotation, info


def _value(annotation: Any) -> str:
    if get_origin(annotation) is list:
        (annotation,) = get_args(annotation)
    return VALUES[annotation]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
