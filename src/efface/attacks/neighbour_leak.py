"""Neighbour leak: is the forgotten thing drawn where something else is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from efface.attacks.base import (
    ASKED,
    ORIGINAL,
    WEAK,
    Attack,
    Case,
    Findings,
    described,
    estimate,
    point,
)
from efface.attacks.goals import ConditionGoal
from efface.attacks.weak import renamed
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import Sampler
from efface.records import Point, SelfTest


@dataclass(frozen=True, kw_only=True)
class NeighbourLeak(Attack):
    """Ask for what stays, label by label or prompt by prompt, and look for the forgotten thing.

    No budget: the x axis is the label asked for, or the number of the prompt, and what leaks most
    is what comes back at once. A question leaks if its interval lies above the original model's
    for the same question. The weak erasure exchanges questions: what it draws under the other one
    must be found.
    """

    samples: int = 60  # per label or prompt

    summary: ClassVar[str] = "is it drawn under other labels or prompts"
    kinds: ClassVar[frozenset[str]] = ASKED

    def measure(self, case: Case) -> Findings:
        goal, original = case.goal, case.original.denoiser
        assert isinstance(goal, ConditionGoal)  # `kinds`
        weak = renamed(original, goal)
        lines: dict[str, list[Point]] = {}
        for name, subject in case.subjects(weak).items():
            lines[name] = self._line(goal, subject.denoiser, self.own_sampler(case, subject))
        sampler = self.many_steps(case)
        return Findings(
            x_label=f"{goal.kind} asked for",
            lines=lines,
            level=self.level_of(case),
            floor=goal.control().measure(original, sampler, self.samples, self.first_seed),
            protocol=f"{self.samples} samples a {goal.kind}, {sampler.describe()}, or the one step "
            f"of a one-step generator; {goal.seen_by}",
            weak=weak,
            notes=[f"{line}: {tell_leaks(goal, lines, line)}" for line in lines],
        )

    def climbs(self, findings: Findings) -> dict[str, list[Point]]:
        most = {n: max(line, key=lambda p: p.value) for n, line in findings.lines.items()}
        return {name: [point(0, estimate(found))] for name, found in most.items()}

    def self_tests(self, case: Case, findings: Findings) -> list[SelfTest]:
        assert findings.weak is not None  # `measure` made one
        goal, found = case.goal, leaks(findings.lines, "weak")
        assert isinstance(goal, ConditionGoal)  # `kinds`
        under = ", ".join(goal.call(goal.neighbours[int(p.x)]) for p in found) or "none"
        return [
            SelfTest(
                subject=ORIGINAL,
                passed=findings.level.low > findings.floor.high,
                text=f"shows it under its own {goal.kind}, {described(findings.level)}, and not "
                f"under others, {described(findings.floor)}",
            ),
            SelfTest(
                subject=WEAK,
                passed=bool(found),
                text=f"{findings.weak.text}; {goal.kind}s under which it was found: {under}",
            ),
        ]

    def _line(self, goal: ConditionGoal, denoiser: Denoiser, sampler: Sampler) -> list[Point]:
        points = []
        for place, question in goal.neighbours.items():
            one = goal.asking([question])
            found = one.measure(denoiser, sampler, self.samples, self.first_seed)
            points.append(point(place, found))
        return points


def leaks(lines: Mapping[str, Sequence[Point]], line: str) -> list[Point]:
    """Questions under which a line lies above the original model's, intervals apart."""
    pairs = zip(lines[line], lines["baseline"], strict=True)
    return [own for own, base in pairs if own.low > base.high]


def tell_leaks(goal: ConditionGoal, lines: Mapping[str, Sequence[Point]], line: str) -> str:
    found = [
        f"{goal.call(goal.neighbours[int(p.x)])}: {described(estimate(p))}"
        for p in leaks(lines, line)
    ]
    return f"drawn under {', '.join(found)}" if found else "leaks nowhere"
