"""The details that fold away: everything needed to check or repeat a run."""

import itertools
from dataclasses import dataclass
from typing import Any

from efface.evaluation.wording import format_change, printable, shorten
from efface.records import AttackResult, Evaluation, Result, RunRecord
from efface.reporting.run_folder import Run, listed

Facts = list[tuple[str, str]]
COURSE = {
    *("status", "started", "finished", "seconds", "steps"),
    *("images_per_second", "forwards", "note", "stopped", "notes"),
}
MEASURED = {"samples", "seeds", "protocol", "extractor"}  # how a figure was measured


@dataclass(frozen=True)
class FactSheet:
    """A titled list of names and values, as text; its anchor is the run's with `key`."""

    key: str
    title: str
    facts: Facts


def fact_sheets(record: RunRecord) -> list[FactSheet]:
    """What was run, settings, weights, versions; empty ones are left out."""
    names, hashes = (listed(record.material.get(key)) for key in ("names", "hashes"))
    pairs = itertools.zip_longest(names, hashes, fillvalue="not recorded")
    images = {f"{n}. {printable(str(name))}": h for n, (name, h) in enumerate(pairs, start=1)}
    material = {k: v for k, v in record.material.items() if k not in ("names", "hashes")}
    course = record.model_dump(include=COURSE, exclude_none=True)
    model = {k: v for k, v in record.model.items() if k != "weights"}
    weights = {
        "original": record.model.get("weights", {}),
        "began from": record.start or {},
        "result": record.output,
    }
    return make_sheets(
        ("facts-run", "What was run", course | {"request": record.request} | material),
        ("facts-hashes", "Images to forget (SHA-256 of their pixels)", images),
        ("facts-model", "Model and sampler", {"model": model, "sampler": record.sampler}),
        ("facts-settings", "All settings", record.settings),
        ("facts-weights", "Weights before and after (SHA-256)", weights),
        ("facts-versions", "Versions and hardware", record.versions | record.hardware),
    )


def make_sheets(*entries: tuple[str, str, Any]) -> list[FactSheet]:
    """Of keys, titles and contents; without facts there is no sheet."""
    sheets = [FactSheet(key, title, flatten(facts)) for key, title, facts in entries]
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


def protocols(run: Run) -> list[FactSheet]:
    """One sheet per result, curve, matrix, attack and grid of samples, and one for the judge."""
    evaluation = run.evaluation
    results, curves = enumerate(evaluation.results), enumerate(evaluation.curves)
    attacks = enumerate(run.attacks.results if run.attacks else [])
    matrix, grid = evaluation.labels_seen, run.sheets and run.sheets.grid
    labels = matrix.model_dump(include=MEASURED) if matrix else {}
    samples = grid.model_dump(include={"before", "after"}) if grid else {}
    return make_sheets(
        *((f"how-{n}", r.spec.label, _about_result(r)) for n, r in results),
        *((f"how-curve-{n}", shorten(c.title), c.model_dump(include=MEASURED)) for n, c in curves),
        ("how-labels", "What is generated for each label", labels),
        *((f"how-attack-{n}", f"Attack: {shorten(a.title)}", _about(a, run)) for n, a in attacks),
        ("how-samples", "Samples before and after", samples),
        ("how-judge", "The classifier", evaluation.judge or {}),
        ("how-change", "Change from the original model", _about_change(evaluation)),
    )


def _about_result(result: Result) -> dict[str, Any]:
    seeds = " to ".join(str(seed) for seed in result.seeds)
    return {"unit": result.unit} | result.model_dump(include=MEASURED) | {"seeds": seeds}


def _about(result: AttackResult, run: Run) -> dict[str, Any]:
    assert run.attacks is not None
    facts = result.curve.model_dump(include=MEASURED)
    facts |= result.model_dump(include={"attack", "seeds", "seconds", "settings"})
    return facts | {"weights attacked": run.attacks.output, "judge": run.attacks.judge or {}}


def _about_change(evaluation: Evaluation) -> dict[str, str]:
    facts = {name: format_change(value) for name, value in evaluation.change.items()}
    facts |= {"protocol": evaluation.change_protocol} if evaluation.change_protocol else {}
    return facts | ({} if evaluation.key is None else {"digest of this evaluation": evaluation.key})
