"""Every setting with its type, range, default and one sentence: what `efface settings` prints."""

import types
from dataclasses import MISSING, dataclass
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
    return [
        Setting(
            name=f"{section}.{name}",
            type=_type(field.annotation),
            range=", ".join(f"{SIGNS[sign]} {bound:g}" for sign, bound in bounds_of(field).items()),
            default=_shown(field.get_default(call_default_factory=True)),
            description=field.description or "",
        )
        for name, field in fields_of(kind).items()
    ]


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
