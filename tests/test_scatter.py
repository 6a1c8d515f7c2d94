"""The machinery knows no kind of request by name: what differs stands in its folder alone."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from efface.requests import kinds
from efface.runs.forget import forget

SOURCE = Path(__file__).parents[1] / "src" / "efface"
OUTSIDE = sorted(
    path
    for path in SOURCE.rglob("*.py")
    if path.relative_to(SOURCE).parts[0] not in ("requests",)
    and "digits" not in path.relative_to(SOURCE).parts
)
CLASSES = {kind.__name__ for kind in kinds().values()} | {"Request"}
# Kinds of other things: of predictions, samplers, views and groups of prompts.
NAMES = set(kinds())


def words_in(node: ast.AST) -> set[str]:
    """Names of classes within an expression."""
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def reads_kind(node: ast.AST) -> bool:
    """`x.kind`, `x["kind"]` or `x.get("kind")`."""
    if isinstance(node, ast.Attribute):
        return node.attr == "kind"
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value == "kind"
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value == "kind"
    )


def constants(node: ast.AST) -> set[object]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}


def scattered(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of everything that asks which kind of request it has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("isinstance", "issubclass") and words_in(node.args[1]) & CLASSES:
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(reads_kind, sides)) and any(constants(side) & NAMES for side in sides):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Match):
            if reads_kind(node.subject):
                yield node.lineno, ast.unparse(node.subject)
        elif isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            if len(keys & NAMES) > 1 and keys <= NAMES | {"prompts", "distil", "train"}:
                yield node.lineno, ast.unparse(node)[:80]
        elif isinstance(node, ast.Tuple | ast.Set | ast.List):
            values = {entry.value for entry in node.elts if isinstance(entry, ast.Constant)}
            if len(values & NAMES) > 1 and values <= NAMES | {"train"}:
                yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_asks_for_the_kind_of_a_request(path):
    found = list(scattered(ast.parse(path.read_text(encoding="utf-8"))))
    assert not found, found


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(request, ForgetClass)",
        "isinstance(request, ForgetClass | ForgetImages)",
        "isinstance(x, requests.base.Request)",
        "request.kind == 'class'",
        "record.request['kind'] in ('images', 'memorised')",
        "record.request.get('kind') != 'distil'",
        "match request.get('kind'):\n    case 'class': pass",
        "{'class': 1, 'images': 2}[request]",
        "MEASURED = ('class', 'concept', 'images')",
    ],
)
def test_the_test_sees_every_form(code):
    assert list(scattered(ast.parse(code)))


def test_forget_is_one_straight_line():
    source = inspect.getsource(forget)
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.FunctionDef)
    statements = body.body[1:]  # without the docstring
    lines = statements[-1].end_lineno - statements[0].lineno + 1  # pyright: ignore
    assert lines <= 60
    tests = [ast.unparse(node.test) for node in ast.walk(body) if isinstance(node, ast.If)]
    assert not any("kind" in test or "isinstance" in test for test in tests), tests


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE))
)
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"
