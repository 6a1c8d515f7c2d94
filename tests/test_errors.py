"""What a user can mend is one sentence on the command line; anything else is ours."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import efface.cli
from efface import errors

SOURCE = Path(efface.cli.__file__).parents[1]
OWN = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if kind is not errors.Stopped  # which tests/cli looks at
]


@pytest.mark.parametrize("kind", OWN)
def test_the_command_line_says_every_error_of_ours_as_one_sentence(kind: type[Exception]) -> None:
    assert (
        efface.cli._sentence(kind("x is missing: give another.")) == "x is missing: give another."
    )
    assert efface.cli._sentence(ValueError("x")) is None


def test_no_module_has_an_error_that_the_command_line_does_not_know() -> None:
    classes = {
        (node.name, ast.unparse(base))
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    }
    others = {name for name, base in classes if base in ("Exception", "ValueError", "RuntimeError")}
    assert others == {"EffaceError"}
