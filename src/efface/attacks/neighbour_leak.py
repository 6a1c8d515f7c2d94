"""Neighbour leak: is the forgotten thing drawn where something else is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from efface.attacks.base import (
    UNTOUCHED,
    WEAK,
    Attack,
    Case,
    Findings,
    described,
    estimate,
    point,
)
from efface.attacks.goals import ClassGoal
from efface.attacks.weak import renamed
from efface.diffusion.denoiser import ClassDenoiser, Denoiser
from efface.diffusion.sampling import Sampler
from efface.records import Point, SelfTest


@dataclass(frozen=True, kw_only=True)
class NeighbourLeak(Attack):
    """Ask for every label that stays and count the samples in which the judge sees a forgotten one.

    No budget: the x axis is the label asked for, and what leaks most is what comes back at once.
    A label leaks if its interval lies above the untouched model's for the same label. The weak
    erasure renames a label: what it draws under the other one must be found.
    """

    samples: int = 60  # per label

    summary: ClassVar[str] = "is it drawn under other labels"
    kinds: ClassVar[frozenset[str]] = frozenset({"class"})

    def measure(self, case: Case) -> Findings:
        goal, untouched = case.goal, case.untouched.denoiser
        assert isinstance(goal, ClassGoal) and isinstance(untouched, ClassDenoiser)  # `kinds`
        weak = renamed(untouched, goal.sought, goal.others)
        lines: dict[str, list[Point]] = {}
        for name, subject in case.subjects(weak).items():
            lines[name] = self._line(goal, subject.denoiser, self.own_sampler(case, subject))
        sampler = self.many_steps(case)
        return Findings(
            x_label="label asked for",
            lines=lines,
            level=self.level_of(case),
            floor=goal.control().measure(untouched, sampler, self.samples, self.first_seed),
            protocol=f"{self.samples} samples a label, {sampler.describe()}, or the one step of a "
            f"one-step generator; judge: {goal.judge.name}",
            weak=weak,
            notes=[f"{line}: {tell_leaks(lines, line)}" for line in lines],
        )

    def climbs(self, findings: Findings) -> dict[str, list[Point]]:
        most = {n: max(line, key=lambda p: p.value) for n, line in findings.lines.items()}
        return {name: [point(0, estimate(found))] for name, found in most.items()}

    def self_tests(self, case: Case, findings: Findings) -> list[SelfTest]:
        assert findings.weak is not None  # `measure` made one
        found = leaks(findings.lines, "weak")
        under = ", ".join(f"{p.x:g}" for p in found) or "none"
        return [
            SelfTest(
                subject=UNTOUCHED,
                passed=findings.level.low > findings.floor.high,
                text=f"shows it under its own label, {described(findings.level)}, and not under "
                f"others, {described(findings.floor)}",
            ),
            SelfTest(
                subject=WEAK,
                passed=bool(found),
                text=f"{findings.weak.text}; labels under which it was found: {under}",
            ),
        ]

    def _line(self, goal: ClassGoal, denoiser: Denoiser, sampler: Sampler) -> list[Point]:
        points = []
        for label in goal.others:
            one = replace(goal, asked=[label])
            found = one.measure(denoiser, sampler, self.samples, self.first_seed)
            points.append(point(label, found))
        return points


def leaks(lines: Mapping[str, Sequence[Point]], line: str) -> list[Point]:
    """Labels under which a line lies above the untouched model's, intervals apart."""
    pairs = zip(lines[line], lines["baseline"], strict=True)
    return [own for own, base in pairs if own.low > base.high]


def tell_leaks(lines: Mapping[str, Sequence[Point]], line: str) -> str:
    found = [f"{p.x:g}: {described(estimate(p))}" for p in leaks(lines, line)]
    return f"drawn under {', '.join(found)}" if found else "leaks nowhere"
