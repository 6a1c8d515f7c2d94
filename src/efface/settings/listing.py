"""Every setting with its type, range, default and one sentence: what `efface settings` prints."""

import ast
import functools
import inspect
import sys
import types
from dataclasses import MISSING, dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from efface.settings.reading import BOUNDS, fields_of

SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the list."""

    name: str  # SECTION.NAME
    type: str
    range: str
    default: str
    description: str


def list_section(section: str, kind: Any) -> list[Setting]:
    """All settings of a section, in the order of their declaration."""
    texts = describe(kind)
    return [
        Setting(
            name=f"{section}.{name}",
            type=_type(field.annotation),
            range=", ".join(f"{SIGNS[sign]} {bound:g}" for sign, bound in bounds_of(field).items()),
            default=_shown(field.get_default(call_default_factory=True)),
            description=texts[name],
        )
        for name, field in fields_of(kind).items()
    ]


@functools.cache
def describe(kind: Any) -> dict[str, str]:
    """The sentence of each setting, by name: of its `Field`, or the string below it in the source.

    Sources are read when a sentence is wanted, not when the class is made: every command would
    wait for it. "" where there is neither.
    """
    fields = fields_of(kind)
    below: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        if fields.keys() & vars(parent).get("__annotations__", {}).keys():
            below |= _strings_below(parent)
    return {name: field.description or below.get(name, "") for name, field in fields.items()}


def _strings_below(kind: type) -> dict[str, str]:
    """String literals that stand right below an annotated name in a class, by that name."""
    found = {}
    for line, below in pairwise(_class_bodies(kind.__module__).get(kind.__name__, [])):
        match line, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                found[name] = inspect.cleandoc(text)
    return found


@functools.cache
def _class_bodies(module: str) -> dict[str, list[ast.stmt]]:
    """Of all classes of a module, by name; none where it has no source."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}
    return {node.name: node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def bounds_of(field: FieldInfo) -> dict[str, float]:
    """The declared range of a number: "ge", "gt", "le" and "lt", as far as they are given.

    Of a list it is the range of its entries.
    """
    found: dict[str, float] = {}
    for entry in [*field.metadata, *_of_entries(field.annotation)]:
        for sign, _ in BOUNDS.values():
            bound = getattr(entry, sign, None)
            if bound is not None:
                found[sign] = bound
    return found


def _of_entries(annotation: Any) -> list[Any]:
    """What is declared of the entries of a list."""
    if get_origin(annotation) is not tuple:
        return []
    return FieldInfo.from_annotation(get_args(annotation)[0]).metadata


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return " or ".join(map(_shown, parts))
    if origin in (Union, types.UnionType):
        return " or ".join("none" if part is type(None) else _type(part) for part in parts)
    if origin is tuple:
        return f"list of {_type(parts[0])}"
    if annotation is str:
        return "text"
    return getattr(annotation, "__name__", str(annotation))


def _shown(value: Any) -> str:
    if value is None or value is MISSING:
        return "none"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
