"""The details that fold away: everything needed to check or repeat a run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from efface.evaluation.wording import format_count, format_duration, format_number, printable
from efface.records import RunRecord

N = TypeVar("N", int, float)

Facts = list[tuple[str, str]]
COMPACT = 60  # characters of a name and its value


@dataclass(frozen=True, kw_only=True)
class FactSheet:
    """A titled list of names and values, as text; its anchor is the run's with `key`."""

    key: str
    title: str
    facts: Facts

    @property
    def is_compact(self) -> bool:
        """Whether two columns hold it."""
        return all(len(name) + len(text) <= COMPACT for name, text in self.facts)


def fact_sheets(record: RunRecord) -> list[FactSheet]:
    """What was run, settings, weights, versions; empty ones are left out."""
    model = {k: v for k, v in record.model.items() if k != "weights"}
    sheets = [
        ("facts-run", "What was run", [*_course(record), *_request(record)]),
        ("facts-hashes", "Images to forget (SHA-256 of their pixels)", _hashes(record)),
        ("facts-model", "Model and sampler",
         [*flatten(model, "model"), *flatten(record.sampler, "sampler")]),
        ("facts-settings", "All settings", flatten(record.settings)),
        ("facts-weights", "Weights before and after (SHA-256)", _weights(record)),
        ("facts-versions", "Versions and hardware",
         [*flatten(record.versions), *flatten(record.hardware)]),
    ]  # fmt: skip
    return make_sheets(sheets)


def make_sheets(entries: Iterable[tuple[str, str, Facts]]) -> list[FactSheet]:
    """Of keys, titles and facts; without facts there is no sheet."""
    return [FactSheet(key=key, title=title, facts=facts) for key, title, facts in entries if facts]


def flatten(content: Any, name: str = "") -> Facts:
    """Nested JSON as (dotted name, text); a list of plain values is one text."""
    if isinstance(content, dict):
        dot = f"{name}." if name else ""
        return [fact for key, value in content.items() for fact in flatten(value, f"{dot}{key}")]
    if isinstance(content, (list, tuple)) and any(isinstance(v, (dict, list)) for v in content):
        return [fact for n, value in enumerate(content) for fact in flatten(value, f"{name}[{n}]")]
    return [(name, _text(content))]


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value) or "none"
    return str(value)


def _request(record: RunRecord) -> Facts:
    """The request and what it names on disk; of images, whose hashes have a sheet, how many."""
    material = {k: v for k, v in record.material.items() if k not in ("names", "hashes")}
    facts = [*flatten(record.request, "request"), *flatten(material, "material")]
    hashes = _hashes(record)
    return [("images to forget", format_count(len(hashes))), *facts] if hashes else facts


def _hashes(record: RunRecord) -> Facts:
    names, hashes = (_texts(record.material.get(key)) for key in ("names", "hashes"))
    pairs = itertools.zip_longest(names, hashes, fillvalue="not recorded")
    return [(f"{n}. {printable(name)}", text) for n, (name, text) in enumerate(pairs, start=1)]


def _texts(given: Any) -> list[str]:
    return [_text(value) for value in given] if isinstance(given, (list, tuple)) else []


def _course(record: RunRecord) -> Facts:
    facts = [
        ("status", record.status),
        ("started", record.started),
        ("finished", _text(record.finished)),
        ("training took", _write(record.seconds, format_duration)),
        ("steps", _write(record.steps, format_count)),
        ("images per second", _write(record.images_per_second, format_number)),
        ("note", record.note),
        ("stopped early", record.stopped),
        *flatten(record.notes, "found"),
    ]
    return [(name, text) for name, text in facts if text]


def _write(number: N | None, write: Callable[[N], str]) -> str:
    return "" if number is None else write(number)


def _weights(record: RunRecord) -> Facts:
    return [
        *flatten(record.model.get("weights", {}), "original"),
        *flatten({} if record.start is None else record.start, "began from"),
        *flatten(record.output, "result"),
    ]
