"""The contract: an attack has a budget, a curve for every model, and tests of itself."""

from __future__ import annotations

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from efface.attacks.goals import Goal
from efface.attacks.weak import WeakErasure, one_ascent_step
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, OneStep, Sampler
from efface.metrics.intervals import Estimate
from efface.records import AttackResult, Cost, Curve, Point, SelfTest
from efface.settings.reading import Section

SHARES = (0.5, 0.9)  # of what the original model shows: what a cost is given for
SAMPLE_SEED = 7_000_000  # away from the seeds of training and evaluation
ZERO = Estimate(0.0, 0.0, 0.0)  # the floor where there is neither a retrained model nor a control
ORIGINAL, WEAK = "the original model", "a knowingly weak erasure"
MOST = 1_000_000  # of whatever is counted

Counts = Annotated[tuple[Annotated[int, Field(ge=1, le=MOST)], ...], Field(min_length=1)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """A model under attack, on the original model's whole schedule, and how it is sampled."""

    denoiser: Denoiser
    sampler: Sampler


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """What is attacked, what is sought, and what both are compared with."""

    result: Subject
    original: Subject
    retrained: Subject | None = None  # trained without what is forgotten
    goal: Goal
    seed: int = 0  # of the examples and the weak erasure, the same for all attacks

    @functools.cached_property
    def weak(self) -> WeakErasure:
        return one_ascent_step(self.original.denoiser, self.goal, self.seed)

    def subjects(self, weak: WeakErasure | None = None) -> dict[str, Subject]:
        """By line: "result", "baseline", "weak" and, where there is one, "retrained"."""
        weakened = (weak or self.weak).denoiser
        subjects = {
            "result": self.result,
            "baseline": self.original,
            "weak": Subject(denoiser=weakened, sampler=self.original.sampler),
        }
        return subjects if self.retrained is None else subjects | {"retrained": self.retrained}

    def without_it(self) -> tuple[Subject, Goal] | None:
        """The retrained model, or else the original one with what it was never taught."""
        if self.retrained is not None:
            return self.retrained, self.goal
        control = self.goal.control()
        return None if control is None else (self.original, control)


@dataclass(frozen=True, eq=False, kw_only=True)
class Findings:
    """What an attack measured."""

    x_label: str
    lines: Mapping[str, Sequence[Point]]
    level: Estimate  # what counts as fully recovered
    floor: Estimate  # what a model without it shows
    protocol: str
    log_x: bool = False
    images: Mapping[str, int] = field(default_factory=dict)  # that were used, by line
    weak: WeakErasure | None = None  # None: the case's own
    overall: Mapping[str, Estimate] = field(default_factory=dict)  # by line, of all of its points
    notes: Sequence[str] = ()


class Attack(Section, ABC):
    """Base of all attacks: the fields of a subclass are its budget and settings.

    They are addressed as `ATTACK.NAME`.
    """

    samples: int = Field(
        default=100, ge=1, le=MOST, description="Samples at every point of a curve."
    )
    seed: int = Field(default=0, ge=0, le=MOST, description="Seed of samples and training.")

    title: ClassVar[str]
    summary: ClassVar[str]  # what is done, in a phrase for every reader
    goals: ClassVar[tuple[type[Goal], ...]]  # that it can pursue
    needs_unseen: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return type(self).__module__.rsplit(".", 1)[-1]

    @model_validator(mode="after")
    def _check_rising(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and list(value) != sorted(set(value)):
                raise ValueError(f"{self.name}.{name} is {list(value)}: give rising numbers.")
        return self

    def misfit(self, goal_class: type[Goal], has_unseen: bool) -> str | None:
        """Why the attack cannot pursue such a goal, in words; None where it can."""
        if not issubclass(goal_class, self.goals):
            subjects = " or ".join(goal.subject for goal in self.goals)
            return (
                f"it is for {subjects}, and this run forgot {goal_class.subject}: choose another "
                "attack"
            )
        if self.needs_unseen and not has_unseen:
            return (
                "it compares with images that no model was trained on, and this run has none: "
                "forget with --unseen"
            )
        return None

    @property
    def first_seed(self) -> int:
        """Of the samples: sample i of every measurement has seed `first_seed` + i."""
        return SAMPLE_SEED + 10_000 * self.seed

    @abstractmethod
    def measure(self, case: Case) -> Findings: ...

    @abstractmethod
    def y_label(self, case: Case) -> str: ...

    def run(self, case: Case) -> AttackResult:
        """Attack all models of a case in the same way."""
        began = time.perf_counter()
        findings = self.measure(case)
        costs = {
            line: costs_of(points, findings, findings.images.get(line))
            for line, points in self.cost_curves(findings).items()
        }
        return AttackResult(
            attack=self.name,
            title=self.title,
            summary=self.summary,
            curve=Curve(
                name=self.name,
                title=self.title,
                x_label=findings.x_label,
                y_label=self.y_label(case),
                log_x=findings.log_x,
                lines={line: list(points) for line, points in findings.lines.items()},
                protocol=findings.protocol,
            ),
            level=findings.level.value,
            floor=findings.floor.value,
            costs=costs,
            self_tests=self.self_tests(case, findings),
            settings=self.model_dump(mode="json"),
            seeds=[self.seed],
            seconds=time.perf_counter() - began,
            notes=list(findings.notes),
        )

    def cost_curves(self, findings: Findings) -> Mapping[str, Sequence[Point]]:
        """What costs are read from, by line; for an attack without a budget one point at 0."""
        return findings.lines

    def self_tests(self, case: Case, findings: Findings) -> list[SelfTest]:
        """Half must be recovered from the original model and from the weak erasure.

        The original model must also stand out from a model without it.
        """
        apart = findings.level.low > findings.floor.high
        text = (
            f"shows {described(findings.level)}, a model without it "
            f"{described(findings.floor)}; {_recovered(findings, 'baseline')}"
        )
        passed = apart and half_budget(findings, "baseline") is not None
        made = (findings.weak or case.weak).text
        return [
            SelfTest(subject=ORIGINAL, passed=passed, text=text),
            SelfTest(
                subject=WEAK,
                passed=half_budget(findings, "weak") is not None,
                text=f"{made}; {_recovered(findings, 'weak')}",
            ),
        ]


class SamplingAttack(Attack):
    """Base of the attacks that look for the forgotten thing in samples."""

    sampling_steps: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="DDIM steps of models that are not one-step generators.",
    )

    def y_label(self, case: Case) -> str:
        return case.goal.y_label

    def multi_step(self, case: Case) -> MultiStep:
        return MultiStep(self.sampling_steps, guidance=case.goal.guidance)

    def sampler_of(self, case: Case, subject: Subject) -> Sampler:
        """The one step of a one-step generator; many steps of any other model."""
        if isinstance(subject.sampler, OneStep):
            return subject.sampler
        return self.multi_step(case)

    def level_of(self, case: Case) -> Estimate:
        """What the original model shows as it is."""
        return self.measure_goal(case.goal, case.original.denoiser, self.multi_step(case))

    def floor_of(self, case: Case) -> Estimate:
        """What a model without it shows as it is; 0 where there is none."""
        found = case.without_it()
        if found is None:
            return ZERO
        subject, goal = found
        return self.measure_goal(goal, subject.denoiser, self.multi_step(case))

    def measure_goal(self, goal: Goal, denoiser: Denoiser, sampler: Sampler) -> Estimate:
        """What a model shows as it is."""
        return goal.measure(denoiser, sampler, self.samples, self.first_seed)

    def describe_samples(self, case: Case) -> str:
        """How every point of a curve was measured, in words."""
        return f"{self.samples} samples a point, {case.goal.describe(self.multi_step(case))}"


def point(x: float, estimate: Estimate) -> Point:
    return Point(x=x, value=estimate.value, low=estimate.low, high=estimate.high)


def estimate(at: Point) -> Estimate:
    return Estimate(at.value, at.low, at.high)


def costs_of(points: Sequence[Point], findings: Findings, images: int | None) -> list[Cost]:
    """Budgets at which `SHARES` of the way from the floor to the level are recovered."""
    floor, span = findings.floor.value, findings.level.value - findings.floor.value
    return [
        Cost(
            share=share,
            budget=crossing(points, floor + share * span) if span > 0 else None,
            images=images,
        )
        for share in SHARES
    ]


def half_budget(findings: Findings, line: str) -> float | None:
    return costs_of(findings.lines[line], findings, None)[SHARES.index(0.5)].budget


def crossing(points: Sequence[Point], wanted: float) -> float | None:
    """Where a curve first reaches `wanted`, linear between its points; None if it never does."""
    before = None
    for now in points:
        if now.value >= wanted:
            if before is None:
                return now.x
            share = (wanted - before.value) / (now.value - before.value)
            return before.x + share * (now.x - before.x)
        before = now
    return None


def described(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _recovered(findings: Findings, line: str) -> str:
    budget = half_budget(findings, line)
    if budget is None:
        return "half of that was not recovered within the budget"
    return f"half of that was recovered at {budget:.3g} ({findings.x_label})"
