"""Leakage to neighbours: is the forgotten thing generated under retained labels or prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from efface.attacks.base import LARGEST, Case, Findings, SamplingAttack
from efface.attacks.costs import Trial, described, estimate, point
from efface.attacks.goals import ConditionGoal, Goal
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import Sampler
from efface.records import Point, SelfTest


class NeighbourLeakage(SamplingAttack):
    """Sample under each retained label or prompt, and look for the forgotten thing.

    An evaluation and no attack: it changes nothing, searches for nothing and has no budget, and
    never decides whether the thing comes back. The x axis is the label, or the number of the
    prompt. A condition leaks if its interval lies above the original model's for the same one.
    """

    samples: int = Field(
        default=60, ge=1, le=LARGEST, description="Samples of each label or prompt."
    )

    title: ClassVar[str] = "Leakage to neighbours"
    summary: ClassVar[str] = "what was forgotten is looked for in samples of other conditions"
    goals: ClassVar[tuple[type[Goal], ...]] = (ConditionGoal,)
    is_context: ClassVar[bool] = True

    def measure(self, case: Case) -> Findings:
        goal = case.goal
        assert isinstance(goal, ConditionGoal)  # `goals`
        lines = {
            name: self._line(goal, subject.denoiser, self.sampler_of(case, subject))
            for name, subject in case.subjects.items()
        }
        leaks = {name: _leaks(goal, line, lines["baseline"]) for name, line in lines.items()}
        return Findings(
            x_label=f"retained {goal.kind}",
            trials={name: [Trial(points=line)] for name, line in lines.items()},
            scale=self.scale_of(case),
            protocol=f"{self.samples} samples a {goal.kind}, {self.multi_step(case).describe()} "
            f"(one-step generators: their one step); {goal.measured_with}",
            notes=[f"{name}: {text}" for name, text in leaks.items()],
        )

    def decisive(self, findings: Findings) -> dict[str, Trial]:
        """Nothing: it costs nothing."""
        return {}

    def self_tests(self, case: Case, findings: Findings) -> list[SelfTest]:
        """None: nothing follows from what it does not find."""
        return []

    def _line(self, goal: ConditionGoal, denoiser: Denoiser, sampler: Sampler) -> list[Point]:
        return [
            point(place, self.measure_goal(goal.conditioned_on([condition]), denoiser, sampler))
            for place, condition in goal.neighbours.items()
        ]


def _leaks(goal: ConditionGoal, line: Sequence[Point], original: Sequence[Point]) -> str:
    """Conditions under which a line lies above the original model's, intervals apart."""
    leaking = [
        f"{goal.describe_condition(goal.neighbours[int(p.x)])}: {described(estimate(p))}"
        for p, other in zip(line, original, strict=True)
        if p.low > other.high
    ]
    return f"found under {', '.join(leaking)}" if leaking else "no leak"
