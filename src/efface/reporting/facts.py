"""The details that fold away: everything needed to check or repeat a run."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from efface.evaluation.wording import format_count, format_duration, format_number, printable
from efface.records import RunRecord

Facts = list[tuple[str, str]]
COMPACT = 60  # characters of a name and its value


@dataclass(frozen=True, kw_only=True)
class FactSheet:
    """A titled list of names and values, as text; `key` ends its anchor."""

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
        ("run", "What was run", [*_course(record), *_request(record)]),
        ("hashes", "Images to forget (SHA-256 of their pixels)", _hashes(record)),
        ("model", "Model and sampler",
         [*flatten(model, "model"), *flatten(record.sampler, "sampler")]),
        ("settings", "All settings", flatten(record.settings)),
        ("weights", "Weights before and after (SHA-256)", _weights(record)),
        ("versions", "Versions and hardware",
         [*flatten(record.versions), *flatten(record.hardware)]),
    ]  # fmt: skip
    return [FactSheet(key=key, title=title, facts=facts) for key, title, facts in sheets if facts]


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
    facts = [("status", record.status), ("started", record.started)]
    facts.append(("finished", _text(record.finished)))
    if record.seconds is not None:
        facts.append(("training took", format_duration(record.seconds)))
    if record.steps is not None:
        facts.append(("steps", format_count(record.steps)))
    if record.images_per_second is not None:
        facts.append(("images per second", format_number(record.images_per_second)))
    if record.note:
        facts.append(("note", record.note))
    if record.stopped:
        facts.append(("stopped early", record.stopped))
    return [*facts, *flatten(record.notes, "found")]


def _weights(record: RunRecord) -> Facts:
    return [
        *flatten(record.model.get("weights", {}), "original"),
        *flatten({} if record.start is None else record.start, "began from"),
        *flatten(record.output, "result"),
    ]
