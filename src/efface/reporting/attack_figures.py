"""One figure per attack: its recovery curve, what it cost, and whether it can be believed."""

from __future__ import annotations

from dataclasses import dataclass

from efface.evaluation.wording import format_count, shorten
from efface.records import AttackResult, Cost
from efface.reporting.attack_words import explain_attack, name_attack, tell_attack, write_budget
from efface.reporting.cards import Mark
from efface.reporting.charts import Chart
from efface.reporting.protocols import attack_anchor
from efface.reporting.recorded_curves import name_model, recorded_chart
from efface.reporting.resistance import (
    HALF,
    MOST,
    AttackFinding,
    Came,
    Resistance,
    find_cost,
    has_budget,
    own_lines,
)

MARKS: dict[Came, Mark] = {
    "withstood": ("good", "did not come back"),
    "like_new": ("warn", "comes back like something new"),
    "came_back": ("warn", "comes back"),
    "faster": ("bad", "comes back faster than something new"),
    "failed_control": ("warn", "inconclusive"),
    "unclear": ("warn", "not measured"),
}


@dataclass(frozen=True, kw_only=True)
class CostRow:
    model: str
    half: str
    most: str
    images: str
    own: bool


@dataclass(frozen=True, kw_only=True)
class AttackFigure:
    """What the page shows of one attack."""

    title: str
    explanation: str
    said: str
    mark: Mark
    inconclusive: bool
    chart: Chart | None
    costs: list[CostRow]
    unit: str  # of the costs; empty for an attack without a budget
    tests: list[tuple[str, bool, str]]  # subject, passed, what was seen
    notes: list[str]
    how: str


def attack_figures(section: str, found: Resistance) -> list[AttackFigure]:
    return [_figure(section, n, finding) for n, finding in enumerate(found.findings)]


def _figure(section: str, number: int, finding: AttackFinding) -> AttackFigure:
    result = finding.result
    levels = {"as before forgetting": result.level, "as retrained without it": result.floor}
    return AttackFigure(
        title=name_attack(result.attack),
        explanation=explain_attack(result.attack),
        said=tell_attack(finding),
        mark=MARKS[finding.came],
        inconclusive=finding.came == "failed_control",
        chart=recorded_chart(result.curve, levels),
        costs=_costs(result),
        unit=shorten(result.curve.x_label) if has_budget(result) else "",
        tests=[(test.subject, test.passed, test.text) for test in result.self_tests],
        notes=[_read_note(result, note) for note in result.notes],
        how=attack_anchor(section, number),
    )


def _read_note(result: AttackResult, note: str) -> str:
    """A note that begins with a line of the curve begins with what that line is."""
    line, colon, rest = note.partition(": ")
    return f"{name_model(line)}: {rest}" if colon and line in result.curve.lines else note


def _costs(result: AttackResult) -> list[CostRow]:
    """A row per model whose cost was measured; this run's model first."""
    own = own_lines(result)
    lines = [line for line in own if line in result.costs]
    lines += [line for line in result.costs if line not in own]
    return [_cost_row(result, line, line in own) for line in lines]


def _cost_row(result: AttackResult, line: str, own: bool) -> CostRow:
    half, most = (find_cost(result, line, share) for share in (HALF, MOST))
    used = {cost.images for cost in (half, most) if cost is not None and cost.images}
    return CostRow(
        model=name_model(line),
        half=_write(half, has_budget(result)),
        most=_write(most, has_budget(result)),
        images=" or ".join(format_count(count) for count in sorted(used)),
        own=own,
    )


def _write(cost: Cost | None, budget: bool) -> str:
    if budget or cost is None:
        return write_budget(cost)
    return "not found" if cost.budget is None else "found"
