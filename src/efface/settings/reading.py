"""Recipes (TOML) and `--set` -> sections: what is unknown or out of range is refused (no torch)."""

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from efface.errors import ConfigError

S = TypeVar("S")
Values = dict[str, dict[str, Any]]  # by section and name
SHIPPED = Path(__file__).parents[1] / "recipes"
BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


class Section(BaseModel):
    """Settings that belong together: frozen, and none that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def shipped_recipes() -> list[str]:
    """Names of the recipes that are part of the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read_recipe(path: Path, sections: Iterable[str]) -> Values:
    """The tables of a TOML file; ConfigError for one that cannot be read or has other sections."""
    if not path.exists() and str(path) in shipped_recipes():
        path = SHIPPED / f"{path}.toml"
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"no recipe at {path}: give a TOML file, or one that ships with efface: "
            f"{', '.join(shipped_recipes())}."
        ) from None
    except (ValueError, RecursionError, OSError) as error:
        raise ConfigError(f"{path} is not readable TOML: {error}.") from error
    recipe.pop("expected", None)  # what the recipe must reach: read by benchmarks
    for section, content in recipe.items():
        _check_section(section, f"in {path}", sections)
        if not isinstance(content, dict):
            raise ConfigError(f"{section} in {path} is not a table: write [{section}].")
    return recipe


def read_changes(changes: Iterable[str], sections: Mapping[str, Any]) -> Values:
    """Changes in the form SECTION.NAME=VALUE, the value as TOML or as bare text."""
    given: Values = {}
    for change in changes:
        key, equals, text = change.partition("=")
        section, dot, name = key.strip().partition(".")
        if not (equals and dot and name):
            raise ConfigError(
                f"--set {change!r} is not understood: write SECTION.NAME=VALUE, as train.steps=500."
            )
        _check_section(section, "with --set", sections)
        given.setdefault(section, {})[name] = _value(text, fields_of(sections[section]).get(name))
    return given


def _value(text: str, field: FieldInfo | None) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        optional = field is None or type(None) in get_args(field.annotation)
        return None if text == "none" and optional else text


def fields_of(kind: Any) -> Mapping[str, FieldInfo]:
    """Fields of a section's class or of a method, by name; none where the class is not known."""
    if kind is None:
        return {}
    if issubclass(kind, BaseModel):
        return kind.model_fields
    return kind.__pydantic_fields__


def build(kind: type[S], values: Mapping[str, Any], section: str) -> S:
    """A section from its values; ConfigError in one sentence for what it does not take."""
    try:
        return _validated(kind, values, section)
    except ValidationError as error:
        raise ConfigError(explain(error, section)) from None


def check_each(kind: Any, values: Mapping[str, Any], section: str) -> None:
    """Raise ConfigError for a value that is wrong by itself, whatever the others of its section."""
    try:
        _validated(kind, values, section)
    except ValidationError as error:
        if error.errors()[0]["loc"]:
            raise ConfigError(explain(error, section)) from None


def _validated(kind: type[S], values: Mapping[str, Any], section: str) -> S:
    known = list(fields_of(kind))
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f" Did you mean {section}.{near[0]}?" if near else ""
            there = f"there is {', '.join(known)}" if known else "it has no settings"
            raise ConfigError(f"{section}.{key} is unknown: {there}.{hint}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{section}.{key} is {value}: give a finite number.")
    # Through JSON, so that lists become tuples but text never becomes a number; what TOML takes
    # for a date is text.
    return TypeAdapter(kind).validate_json(json.dumps(dict(values), default=str), strict=True)


def explain(error: ValidationError, section: str) -> str:
    """The first problem of a validation in one sentence: what was given, what is allowed."""
    first = error.errors()[0]
    if not first["loc"]:  # a check over several settings, whose text is a sentence
        return str(first.get("ctx", {}).get("error", first["msg"]))
    key = ".".join(map(str, (section, *first["loc"])))
    if first["type"] == "missing":
        return f"{key} is missing: give it."
    if first["type"] in BOUNDS:
        name, words = BOUNDS[first["type"]]
        bound = first.get("ctx", {})[name]
        return f"{key} is {first['input']!r}: give a number of {words} {bound}."
    return f"{key} is {first['input']!r}: {first['msg'].lower()}."


def _check_section(section: str, where: str, known: Iterable[str]) -> None:
    if section not in known:
        raise ConfigError(f"section {section!r} {where} is unknown: there is {', '.join(known)}.")
