"""Damage to what is read: JSON, TOML and bytes of every strange kind, for tests with hypothesis."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

import efface.cli

Place = tuple[str | int, ...]
RAW = {  # what Python's own writer refuses
    '"@deep@"': b"[" * 100_000 + b"]" * 100_000,
    '"@nested@"': b'{"a": ' * 400 + b"1" + b"}" * 400,
    '"@huge@"': b"9" * 5000,
    '"@infinite@"': b"1e999",
}
STRANGE = (
    *(None, True, False, 0, 1, -1, 2, 3, 10**6, 2**63, -(2**63), 10**300, 0.5, -0.0, 1e-308),
    *(1e308, -1e308, float("nan"), float("inf"), float("-inf"), "", " ", "0", "nan", "none"),
    *("a" * 3000, "\x00", "\x1b[31m", "\u202e", "\ud800", "\ufeff", "../..", "/", "zoo:", "a/b"),
    *("<script>", "{{ 1 }}", "=1+1", [], {}, [None], [[]], [{}], [0, "0"], {"": None}, {"a": {}}),
    *([1e308, -1e308], ["a"] * 300, list(range(300)), *(raw.strip('"') for raw in RAW)),
)
KEYS = ("", "a", "kind", "schema", "name", "\x00", "__class__", "../..", "a" * 3000, "\ud800")
ACTS = ("replace", "replace", "replace", "drop", "add", "wrap", "swap")


def places_in(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where something stands in JSON, from outside in."""
    yield place
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in inner:
            yield from places_in(part, (*place, name))


def at(value: Any, place: Place) -> Any:
    for name in place:
        value = value[name]
    return value


def put(draw: st.DrawFn, content: Any, values: st.SearchStrategy[Any]) -> Any:
    """One change somewhere."""
    places = list(places_in(content))
    place = draw(st.sampled_from(places))
    act = draw(st.sampled_from(ACTS))
    new = copy.deepcopy(draw(values))
    if act == "wrap":
        new = [at(content, place)]
    elif act == "swap":  # what is right, in another place
        new = copy.deepcopy(at(content, draw(st.sampled_from(places))))
    if not place:
        return new if act != "drop" else content
    holder, name = at(content, place[:-1]), place[-1]
    if act == "drop":
        del holder[name]
    elif act == "add" and isinstance(holder, dict):
        holder[draw(st.sampled_from(KEYS))] = new
    else:
        holder[name] = new
    return content


@st.composite
def changed(draw: st.DrawFn, content: Any, values: st.SearchStrategy[Any] | None = None) -> Any:
    """JSON with one to three changes."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        content = put(draw, content, values or st.sampled_from(STRANGE))
    return content


def written(content: Any) -> bytes:
    """As a file, with what Python's own writer refuses."""
    text = json.dumps(content).encode()
    for raw, replacement in RAW.items():
        text = text.replace(raw.encode(), replacement)
    return text


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes that were cut, overwritten, doubled or replaced."""
    act = draw(st.sampled_from(("cut", "overwrite", "insert", "drop", "double", "replace", "none")))
    start = draw(st.integers(0, len(content)))
    end = min(len(content), start + draw(st.integers(0, 40)))
    junk = draw(st.binary(max_size=40))
    return {
        "cut": content[:start],
        "overwrite": content[:start] + junk + content[start + len(junk) :],
        "insert": content[:start] + junk + content[start:],
        "drop": content[:start] + content[end:],
        "double": content[:end] + content[start:],
        "replace": junk,
        "none": content,
    }[act]


@st.composite
def file_of(draw: st.DrawFn, content: Any, values: st.SearchStrategy[Any] | None = None) -> bytes:
    """A JSON file whose values, or whose bytes, are others."""
    if draw(st.integers(0, 4)):
        return written(draw(changed(content, values)))
    return draw(damaged(written(content)))


def is_ours(error: Exception) -> bool:
    """Whether the command line says an error in one sentence."""
    sentence = efface.cli._sentence(error)
    return sentence is not None and 0 < len(sentence) < 10_000
