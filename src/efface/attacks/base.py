"""The contract: an attack has a budget, a curve for every model, and tests of itself."""

from __future__ import annotations

import dataclasses
import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from efface.attacks.goals import Goal
from efface.attacks.weak import WeakErasure, one_ascent_step
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, OneStep, Sampler
from efface.errors import ConfigError
from efface.metrics.intervals import Estimate
from efface.records import AttackResult, Cost, Curve, Point, SelfTest

ASKED = frozenset({"class", "concept", "memorised"})  # requests whose thing is asked for
SHARES = (0.5, 0.9)  # of what the original model shows: what a cost is given for
SAMPLE_SEED = 7_000_000  # away from the seeds of training and evaluation
NOTHING = Estimate(0.0, 0.0, 0.0)  # the floor where nothing is known that never knew
ORIGINAL, WEAK = "the original model", "a knowingly weak erasure"


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """A model under attack, on the original model's whole schedule, and how it is sampled."""

    denoiser: Denoiser
    sampler: Sampler


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """What is attacked, what is looked for, and what never knew it."""

    result: Subject
    original: Subject
    retrained: Subject | None = None
    goal: Goal
    seed: int = 0  # of the examples and the weak erasure, the same for all attacks

    @functools.cached_property
    def weak(self) -> WeakErasure:
        return one_ascent_step(self.original.denoiser, self.goal, self.seed)

    def subjects(self, weak: WeakErasure | None = None) -> dict[str, Subject]:
        """By line: "result", "baseline", "weak" and, where there is one, "retrained"."""
        weakened = (weak or self.weak).denoiser
        found = {
            "result": self.result,
            "baseline": self.original,
            "weak": Subject(denoiser=weakened, sampler=self.original.sampler),
        }
        return found if self.retrained is None else found | {"retrained": self.retrained}

    def never_knew(self) -> tuple[Subject, Goal] | None:
        """The retrained model, or else the original one asked for what it was never taught."""
        if self.retrained is not None:
            return self.retrained, self.goal
        control = self.goal.control()
        return None if control is None else (self.original, control)


@dataclass(frozen=True, eq=False, kw_only=True)
class Findings:
    """What an attack measured."""

    x_label: str
    lines: Mapping[str, Sequence[Point]]
    level: Estimate  # what counts as fully back
    floor: Estimate  # what a model that never knew it shows
    protocol: str
    log_x: bool = False
    images: Mapping[str, int] = field(default_factory=dict)  # that were used, by line
    weak: WeakErasure | None = None  # None: the case's own
    overall: Mapping[str, Estimate] = field(default_factory=dict)  # by line, of all of its points
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Base of all attacks: subclasses are frozen dataclasses of their budgets and settings."""

    samples: int = 100  # at every point of a curve
    sampling_steps: int = 20  # of every model that is not sampled in one step
    seed: int = 0

    summary: ClassVar[str]  # one line, for the documentation
    kinds: ClassVar[frozenset[str]]  # of requests that it applies to
    needs_unseen: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return type(self).__module__.rsplit(".", 1)[-1]

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            given = value if isinstance(value, tuple) else (value,)
            if not given or any(v <= 0 for v in given) and entry.name != "seed":
                raise ConfigError(
                    f"{self.name}.{entry.name} is {_shown(value)}: give numbers above 0."
                )
            if isinstance(value, tuple) and list(given) != sorted(set(given)):
                raise ConfigError(
                    f"{self.name}.{entry.name} is {_shown(value)}: give rising numbers."
                )
        if self.seed < 0:
            raise ConfigError(f"{self.name}.seed is {self.seed}: give a number from 0 up.")

    @property
    def first_seed(self) -> int:
        """Of the samples: sample i of every measurement has seed `first_seed` + i."""
        return SAMPLE_SEED + 10_000 * self.seed

    @abstractmethod
    def measure(self, case: Case) -> Findings: ...

    def run(self, case: Case) -> AttackResult:
        """Attack all models of a case in the same way."""
        began = time.perf_counter()
        findings = self.measure(case)
        costs = {
            line: costs_of(points, findings, findings.images.get(line))
            for line, points in self.climbs(findings).items()
        }
        return AttackResult(
            attack=self.name,
            curve=Curve(
                name=self.name,
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
            settings=dataclasses.asdict(self),
            seeds=[self.seed],
            seconds=time.perf_counter() - began,
            notes=list(findings.notes),
        )

    def climbs(self, findings: Findings) -> Mapping[str, Sequence[Point]]:
        """What costs are read from, by line; of an attack without a budget one point at 0."""
        return findings.lines

    def y_label(self, case: Case) -> str:
        return case.goal.shows

    def many_steps(self, case: Case) -> MultiStep:
        return MultiStep(self.sampling_steps, guidance=case.goal.guidance)

    def own_sampler(self, case: Case, subject: Subject) -> Sampler:
        """The one step of a one-step generator; many steps of any other model."""
        if isinstance(subject.sampler, OneStep):
            return subject.sampler
        return self.many_steps(case)

    def self_tests(self, case: Case, findings: Findings) -> list[SelfTest]:
        """The original model must stand out from what never knew, and half must come back.

        The weak erasure must yield half of it too.
        """
        apart = findings.level.low > findings.floor.high
        text = (
            f"shows {described(findings.level)} where a model that never knew shows "
            f"{described(findings.floor)}; {self._came_back(findings, 'baseline')}"
        )
        passed = apart and half_budget(findings, "baseline") is not None
        made = (findings.weak or case.weak).text
        return [
            SelfTest(subject=ORIGINAL, passed=passed, text=text),
            SelfTest(
                subject=WEAK,
                passed=half_budget(findings, "weak") is not None,
                text=f"{made}; {self._came_back(findings, 'weak')}",
            ),
        ]

    def _came_back(self, findings: Findings, line: str) -> str:
        budget = half_budget(findings, line)
        if budget is None:
            return "half of that did not come back within the budget"
        return f"half of that was back at {budget:.3g} ({findings.x_label})"

    def level_of(self, case: Case) -> Estimate:
        """What the original model shows when it is simply asked."""
        return self.plain(case, case.original.denoiser, self.many_steps(case))

    def floor_of(self, case: Case) -> Estimate:
        """What a model that never knew shows when it is simply asked; 0 where there is none."""
        found = case.never_knew()
        if found is None:
            return NOTHING
        subject, goal = found
        sampler = self.many_steps(case)
        return goal.measure(subject.denoiser, sampler, self.samples, self.first_seed)

    def sampled(self, case: Case) -> str:
        """How every point of a curve was measured, in words."""
        how = case.goal.describe(self.many_steps(case))
        return f"{self.samples} samples a point, {how}"

    def plain(self, case: Case, denoiser: Denoiser, sampler: Sampler) -> Estimate:
        """What a model shows when it is simply asked."""
        return case.goal.measure(denoiser, sampler, self.samples, self.first_seed)


def point(x: float, estimate: Estimate) -> Point:
    return Point(x=x, value=estimate.value, low=estimate.low, high=estimate.high)


def estimate(at: Point) -> Estimate:
    return Estimate(at.value, at.low, at.high)


def costs_of(points: Sequence[Point], findings: Findings, images: int | None) -> list[Cost]:
    """Budgets at which `SHARES` of the way from the floor to the level are back."""
    floor, reach = findings.floor.value, findings.level.value - findings.floor.value
    return [
        Cost(
            share=share,
            budget=crossing(points, floor + share * reach) if reach > 0 else None,
            images=images,
        )
        for share in SHARES
    ]


def half_budget(findings: Findings, line: str) -> float | None:
    return costs_of(findings.lines[line], findings, None)[SHARES.index(0.5)].budget


def crossing(points: Sequence[Point], wanted: float) -> float | None:
    """Where a curve first reaches `wanted`, straight between its points; None if it never does."""
    before = None
    for now in points:
        if now.value >= wanted:
            if before is None:
                return now.x
            return before.x + (wanted - before.value) / (now.value - before.value) * (
                now.x - before.x
            )
        before = now
    return None


def described(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
