"""The details that fold away: everything needed to check or repeat a run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from efface.evaluation.wording import (
    format_change,
    format_count,
    format_duration,
    format_number,
    printable,
    shorten,
)
from efface.records import AttackResult, Attacks, Curve, Evaluation, Result, RunRecord
from efface.reporting.findings import SAME
from efface.reporting.recorded_curves import name_curve, name_model
from efface.reporting.run_folder import Run

N = TypeVar("N", int, float)

Facts = list[tuple[str, str]]
COMPACT = 60  # characters of a name and its value
CHANGE_SAMPLES, CHANGE_SEED = 64, 6_000_000  # of efface.evaluation.change, which imports torch
CHANGES = {
    "weights": "weights changed by",
    "samples": "samples changed by, of their spread",
    "retained_distance": "energy distance to the original model's samples, of their spread",
}


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
    weights = record.model.get("weights", {})
    model = {k: v for k, v in record.model.items() if k != "weights"}
    output = {"original": weights, "began from": record.start or {}, "result": record.output}
    sheets = {
        "run": ("What was run", _course(record) | _request(record)),
        "hashes": ("Images to forget (SHA-256 of their pixels)", _hashes(record)),
        "model": ("Model and sampler", {"model": model, "sampler": record.sampler}),
        "settings": ("All settings", record.settings),
        "weights": ("Weights before and after (SHA-256)", output),
        "versions": ("Versions and hardware", record.versions | record.hardware),
    }
    return make_sheets((f"facts-{key}", *sheet) for key, sheet in sheets.items())


def make_sheets(entries: Iterable[tuple[str, str, Any]]) -> list[FactSheet]:
    """Of keys, titles and contents; without facts there is no sheet."""
    sheets = [
        FactSheet(key=key, title=title, facts=flatten(facts)) for key, title, facts in entries
    ]
    return [sheet for sheet in sheets if sheet.facts]


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


def _request(record: RunRecord) -> dict[str, Any]:
    """The request and what it names on disk; of images, whose hashes have a sheet, how many."""
    hashes = _hashes(record)
    count = {"images to forget": format_count(len(hashes))} if hashes else {}
    material = {k: v for k, v in record.material.items() if k not in ("names", "hashes")}
    return count | {"request": record.request, "material": material}


def _hashes(record: RunRecord) -> dict[str, str]:
    names, hashes = (_texts(record.material.get(key)) for key in ("names", "hashes"))
    pairs = itertools.zip_longest(names, hashes, fillvalue="not recorded")
    return {f"{n}. {printable(name)}": text for n, (name, text) in enumerate(pairs, start=1)}


def _texts(given: Any) -> list[str]:
    return [_text(value) for value in given] if isinstance(given, (list, tuple)) else []


def _course(record: RunRecord) -> dict[str, Any]:
    facts = {
        "status": record.status,
        "started": record.started,
        "finished": _text(record.finished),
        "training took": _write(record.seconds, format_duration),
        "steps": _write(record.steps, format_count),
        "images per second": _write(record.images_per_second, format_number),
        "note": record.note,
        "stopped early": record.stopped,
        "found": record.notes,
    }
    return {name: fact for name, fact in facts.items() if fact}


def _write(number: N | None, write: Callable[[N], str]) -> str:
    return "" if number is None else write(number)


def protocols(run: Run) -> list[FactSheet]:
    """One sheet per result, curve, matrix, attack and grid of samples, and one for the judge."""
    evaluation, matrix = run.evaluation, run.evaluation.labels_seen
    entries: list[tuple[str, str, Any]] = [
        (f"how-{n}", result.spec.label, _about_result(result))
        for n, result in enumerate(evaluation.results)
    ]
    for n, curve in enumerate(evaluation.curves):
        entries.append((f"how-curve-{n}", name_curve(curve.name), _about_curve(curve)))
    if matrix is not None:
        samples = f"{format_count(sum(matrix.samples))} over all labels"
        facts = {"samples": samples, "protocol": matrix.protocol}
        entries.append(("how-labels", "What was seen under each label", facts))
    if run.attacks is not None:
        for n, result in enumerate(run.attacks.results):
            title = f"Attack: {shorten(result.title)}"
            entries.append((f"how-attack-{n}", title, _about_attack(result, run.attacks)))
    if run.sheets is not None:
        grid = run.sheets.grid
        facts = {"before": grid.before, "after": grid.after, "noise": "the same for both"}
        entries.append(("how-samples", "Samples before and after", facts))
    entries.append(("how-judge", "The classifier", evaluation.judge or {}))
    entries.append(("how-change", "Change", _about_change(evaluation)))
    return make_sheets(entries)


def _about_result(result: Result) -> dict[str, Any]:
    return {
        "unit": result.unit,
        "samples": format_count(result.samples),
        "seeds": f"{result.seeds[0]} to {result.seeds[-1]}" if result.seeds else "not recorded",
        "protocol": result.protocol,
        "measured with": result.extractor or {},
    }


def _about_curve(curve: Curve) -> dict[str, Any]:
    return {
        "models": ", ".join(name_model(name) for name in curve.lines),
        "axes": f"{curve.y_label} against {curve.x_label}",
        "protocol": curve.protocol,
        "measured with": curve.extractor or {},
    }


def _about_attack(result: AttackResult, attacks: Attacks) -> dict[str, Any]:
    return {
        "name": result.attack,
        **_about_curve(result.curve),
        "seeds": ", ".join(map(str, result.seeds)) or "not recorded",
        "took": format_duration(result.seconds),
        "setting": result.settings,
        "weights attacked": attacks.output,
        "judge": attacks.judge or {},
    }


def _about_change(evaluation: Evaluation) -> dict[str, str]:
    """How far the model is from the original one, and how that was measured."""
    facts = {CHANGES.get(key, key): format_change(v) for key, v in evaluation.change.items()}
    if evaluation.broken:
        broken = "a model is broken whose outputs at three timesteps are not finite numbers"
        facts |= {"seeds": str(CHANGE_SEED), "protocol": broken}
    elif {"samples", "retained_distance"} & evaluation.change.keys():
        seeds = [CHANGE_SEED + n * CHANGE_SAMPLES for n in (1, 2)]
        facts |= {
            "samples": f"{CHANGE_SAMPLES} retained ones per model",
            "seeds": f"{CHANGE_SEED} to {seeds[0] - 1}; energy distance to samples of {seeds[0]} "
            f"to {seeds[1] - 1}",
            "protocol": "change of samples: both models sampled as the result is, from the same "
            "noise; energy distance: the original model sampled by its own sampler; no effect: "
            f"samples changed by less than {format_change(SAME)}",
        }
    if evaluation.key is not None:
        facts["digest of this evaluation"] = evaluation.key
    return facts
