"""The contract: an attack has a budget, a curve for every model, and tests of itself."""

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from efface.attacks.costs import HALF, ZERO, Scale, Trial, compare_budgets, described
from efface.attacks.goals import Goal
from efface.attacks.weak import WeakErasure, one_ascent_step
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, OneStep, Sampler
from efface.metrics.intervals import Estimate
from efface.records import MULTI_STEP, AttackResult, Curve, SelfTest, Speed
from efface.settings.reading import Section

SAMPLE_SEED = 7_000_000  # away from the seeds of training and evaluation
SEED_STEP = 1_000  # between the seeds of one comparison
ORIGINAL, WEAK = "the original model", "a knowingly weak erasure"
LARGEST = 1_000_000  # of whatever is counted

Counts = Annotated[tuple[Annotated[int, Field(ge=1, le=LARGEST)], ...], Field(min_length=1)]
Trials = dict[str, list[Trial]]  # by line: one, or one per learning rate


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
    called: str = ""  # what is sought, where several things were forgotten
    seed: int = 0  # of the weak erasure, the same for all attacks

    @functools.cached_property
    def weak(self) -> WeakErasure:
        return one_ascent_step(self.original.denoiser, self.goal, self.seed)

    @property
    def subjects(self) -> dict[str, Subject]:
        """By line: "result", "baseline" and, where there is one, "retrained"."""
        subjects = {"result": self.result, "baseline": self.original}
        return subjects if self.retrained is None else subjects | {"retrained": self.retrained}

    def with_weak(self, weak: WeakErasure) -> dict[str, Subject]:
        """All subjects, and the line "weak"."""
        return self.subjects | {
            "weak": Subject(denoiser=weak.denoiser, sampler=self.original.sampler)
        }

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
    trials: Trials
    scale: Scale
    protocol: str
    log_x: bool = False
    weak: WeakErasure | None = None  # None: none was attacked
    y_label: str | None = None  # None: the goal's
    examples: str | None = None  # what was attacked with, where anything was

    @functools.cached_property
    def best(self) -> dict[str, Trial]:
        """By line: the trial that counts."""
        return {line: self.scale.best(trials) for line, trials in self.trials.items()}

    def half(self, line: str) -> float | None:
        return self.scale.budget(self.best[line].points, HALF)


class Attack(Section, ABC):
    """Base of all attacks: the fields of a subclass are its budget and settings.

    They are addressed as `ATTACK.NAME`.
    """

    samples: int = Field(default=100, ge=1, le=LARGEST)
    """Samples at every point of a curve."""
    seed: int = Field(default=0, ge=0, le=LARGEST)
    """Seed of samples and training."""
    sampling_steps: int = Field(default=20, ge=1, le=1000)
    """DDIM steps of models that are not one-step generators."""

    title: ClassVar[str]
    summary: ClassVar[str]  # what is done, in a phrase for every reader
    goals: ClassVar[tuple[type[Goal], ...]] = (Goal,)  # that it can pursue

    @property
    def name(self) -> str:
        return type(self).__module__.rsplit(".", 1)[-1]

    @model_validator(mode="after")
    def _check_rising(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and list(value) != sorted(set(value)):
                raise ValueError(f"{self.name}.{name} is {list(value)}: give rising numbers.")
        return self

    def misfit(self, goal_class: type[Goal]) -> str | None:
        """Why the attack cannot pursue such a goal, in words; None where it can."""
        if issubclass(goal_class, self.goals):
            return None
        subjects = " or ".join(goal.subject for goal in self.goals)
        return (
            f"it is for {subjects}, and this run forgot {goal_class.subject}: choose another attack"
        )

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
        scale, speed = findings.scale, self.compare(case, findings)
        title = f"{self.title} ({case.called})" if case.called else self.title
        return AttackResult(
            attack=self.name,
            called=case.called,
            title=title,
            summary=self.summary,
            curve=Curve(
                name=self.name,
                title=title,
                x_label=findings.x_label,
                y_label=findings.y_label or case.goal.y_label,
                log_x=findings.log_x,
                lines={line: list(trial.points) for line, trial in findings.best.items()},
                protocol=findings.protocol,
            ),
            level=scale.level.value,
            floor=scale.floor.value,
            costs={line: scale.costs(trial) for line, trial in findings.best.items()},
            self_tests=self.self_tests(case, findings),
            settings=self.model_dump(mode="json"),
            seeds=[self.seed, *(speed.seeds if speed else ())],
            seconds=time.perf_counter() - began,
            notes=self.notes(findings),
            rates={
                line: rates
                for line, trials in findings.trials.items()
                if (rates := scale.rates(trials))
            },
            speed=speed,
            examples=findings.examples,
        )

    def notes(self, findings: Findings) -> list[str]:
        """What else a reader is to know."""
        return [] if findings.examples is None else [f"attacked with {findings.examples}"]

    def compare(self, case: Case, findings: Findings) -> Speed | None:
        """How fast it comes back beside a retrained model; None where that was not measured."""
        return None

    def self_tests(self, case: Case, findings: Findings) -> list[SelfTest]:
        """Half must be recovered from the original model and from the weak erasure.

        The original model must also stand out from a model without it.
        """
        scale = findings.scale
        recovered = {line: _recovered(findings, line) for line in ("baseline", "weak")}
        text = (
            f"shows {described(scale.level)}, a model without it {described(scale.floor)}; "
            f"{recovered['baseline']}"
        )
        assert findings.weak is not None  # `measure` made one
        passed = scale.are_apart and findings.half("baseline") is not None
        return [
            SelfTest(subject=ORIGINAL, passed=passed, text=text),
            SelfTest(
                subject=WEAK,
                passed=findings.half("weak") is not None,
                text=f"{findings.weak.text}; {recovered['weak']}",
            ),
        ]

    def multi_step(self, case: Case) -> MultiStep:
        original = case.original.denoiser
        return MultiStep.within(original, self.sampling_steps, case.goal.guidance)

    def sampler_of(self, case: Case, subject: Subject) -> Sampler:
        """The one step of a one-step generator; many steps of any other model."""
        if isinstance(subject.sampler, OneStep):
            return subject.sampler
        return self.multi_step(case)

    def scale_of(self, case: Case) -> Scale:
        """From what a model without it shows as it is, or 0, to the original model as it is."""
        sampler, without = self.multi_step(case), case.without_it()
        level, floor = self.measure_goal(case.goal, case.original.denoiser, sampler), ZERO
        if without is not None:
            subject, goal = without
            floor = self.measure_goal(goal, subject.denoiser, sampler)
        return Scale(level=level, floor=floor)

    def measure_goal(self, goal: Goal, denoiser: Denoiser, sampler: Sampler) -> Estimate:
        """What a model shows as it is."""
        return goal.measure(denoiser, sampler, self.samples, self.first_seed)

    def describe_samples(self, case: Case) -> str:
        """How every point of a curve was measured, in words."""
        return f"{self.samples} samples a point, {case.goal.describe(self.multi_step(case))}"


class BudgetAttack(Attack):
    """Base of the attacks that grow stronger with a budget."""

    repeats: int = Field(default=6, ge=0, le=500)
    """Further seeds that compare with a retrained model, where half came back."""

    @abstractmethod
    def attack(self, case: Case, subjects: Mapping[str, Subject]) -> Trials:
        """Attack each of the subjects; its lines have its name and perhaps more."""

    def again(self, trial: Trial, seed: int) -> "BudgetAttack":
        """The same attack, as in a trial and nothing else, from another seed."""
        return self.model_copy(update={"seed": seed})

    def compare(self, case: Case, findings: Findings) -> Speed | None:
        """Both models are attacked as was best for each of them at the first seed."""
        line = cheapest(findings, "result")
        if case.retrained is None or not self.repeats or findings.half(line) is None:
            return None
        images = findings.best[line].images
        lines = {line: case.result, cheapest(findings, "retrained", images): case.retrained}
        seeds = [self.seed + SEED_STEP * n for n in range(1, self.repeats + 1)]
        pairs = [
            [
                self._half_again(case, findings, line, subject, seed)
                for line, subject in lines.items()
            ]
            for seed in seeds
        ]
        whole = findings.best[line].points[-1].x
        return compare_budgets(line, seeds, [(a, b) for a, b in pairs], whole)

    def _half_again(
        self, case: Case, findings: Findings, line: str, subject: Subject, seed: int
    ) -> float | None:
        name = line.split("_")[0]
        trials = self.again(findings.best[line], seed).attack(case, {name: subject})
        (trial,) = trials[name + (MULTI_STEP if line.endswith(MULTI_STEP) else "")]
        return findings.scale.budget(trial.points, HALF)


def cheapest(findings: Findings, model: str, images: int | None = None) -> str:
    """The line of a model, with as many `images` or any number, in which it came back for least."""
    lines = {
        findings.best[line]: line
        for line in findings.best
        if line.split("_")[0] == model and images in (None, findings.best[line].images)
    }
    return lines[findings.scale.best(list(lines))]


def _recovered(findings: Findings, line: str) -> str:
    budget = findings.half(line)
    if budget is None:
        return "half of that was not recovered within the budget"
    return f"half of that was recovered at {budget:.3g} ({findings.x_label})"
