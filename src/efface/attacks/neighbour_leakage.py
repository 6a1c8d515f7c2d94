"""Leakage to neighbours: is the forgotten thing generated under retained labels or prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from efface.attacks.base import (
    MOST,
    ORIGINAL,
    WEAK,
    Case,
    Findings,
    SamplingAttack,
    described,
    estimate,
    point,
)
from efface.attacks.goals import ConditionGoal, Goal
from efface.attacks.weak import exchanged
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import Sampler
from efface.records import Point, SelfTest


class NeighbourLeakage(SamplingAttack):
    """Sample under each retained label or prompt, and look for the forgotten thing.

    No budget: the x axis is the label, or the number of the prompt, and the greatest leak is what
    is recovered at once. A condition leaks if its interval lies above the original model's for the
    same condition. The weak erasure exchanges conditions: what it generates under the other one
    must be found.
    """

    samples: int = Field(default=60, ge=1, le=MOST, description="Samples of each label or prompt.")

    title: ClassVar[str] = "Leakage to neighbours"
    summary: ClassVar[str] = "what was forgotten is looked for in samples of other conditions"
    goals: ClassVar[tuple[type[Goal], ...]] = (ConditionGoal,)

    def measure(self, case: Case) -> Findings:
        goal, original = case.goal, case.original.denoiser
        assert isinstance(goal, ConditionGoal)  # `goals`
        weak = exchanged(original, goal)
        lines = {
            name: self._line(goal, subject.denoiser, self.sampler_of(case, subject))
            for name, subject in case.subjects(weak).items()
        }
        sampler = self.multi_step(case)
        return Findings(
            x_label=f"retained {goal.kind}",
            lines=lines,
            level=self.level_of(case),
            floor=self.measure_goal(goal.control(), original, sampler),
            protocol=f"{self.samples} samples a {goal.kind}, {sampler.describe()} (one-step "
            f"generators: their one step); {goal.measured_with}",
            weak=weak,
            notes=[f"{line}: {describe_leaks(goal, lines, line)}" for line in lines],
        )

    def cost_curves(self, findings: Findings) -> dict[str, list[Point]]:
        most = {n: max(line, key=lambda p: p.value) for n, line in findings.lines.items()}
        return {name: [point(0, estimate(found))] for name, found in most.items()}

    def self_tests(self, case: Case, findings: Findings) -> list[SelfTest]:
        assert findings.weak is not None  # `measure` made one
        goal, leaking = case.goal, leaks(findings.lines, "weak")
        assert isinstance(goal, ConditionGoal)  # `goals`
        where = ", ".join(goal.describe_condition(goal.neighbours[int(p.x)]) for p in leaking)
        return [
            SelfTest(
                subject=ORIGINAL,
                passed=findings.level.low > findings.floor.high,
                text=f"shows it under the forgotten {goal.kind} in {described(findings.level)} of "
                f"samples, under retained ones in {described(findings.floor)}",
            ),
            SelfTest(
                subject=WEAK,
                passed=bool(leaking),
                text=f"{findings.weak.text}; {goal.kind}s under which it was found: "
                f"{where or 'none'}",
            ),
        ]

    def _line(self, goal: ConditionGoal, denoiser: Denoiser, sampler: Sampler) -> list[Point]:
        points = []
        for place, condition in goal.neighbours.items():
            found = self.measure_goal(goal.conditioned_on([condition]), denoiser, sampler)
            points.append(point(place, found))
        return points


def leaks(lines: Mapping[str, Sequence[Point]], line: str) -> list[Point]:
    """Conditions under which a line lies above the original model's, intervals apart."""
    pairs = zip(lines[line], lines["baseline"], strict=True)
    return [found for found, original in pairs if found.low > original.high]


def describe_leaks(goal: ConditionGoal, lines: Mapping[str, Sequence[Point]], line: str) -> str:
    leaking = [
        f"{goal.describe_condition(goal.neighbours[int(p.x)])}: {described(estimate(p))}"
        for p in leaks(lines, line)
    ]
    return f"found under {', '.join(leaking)}" if leaking else "no leak"
