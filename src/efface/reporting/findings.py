"""What figures say of forgetting and of damage: a pure function of results and their Specs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from efface.metrics.differences import independent_difference
from efface.records import Evaluation, Result, Side, Spec, Value

Answer = Literal["yes", "no", "inconclusive", "not_measured"]
WORST: tuple[Answer, ...] = ("no", "inconclusive", "yes")
SAME = 0.01  # samples that moved less than this share of their spread are the same samples
NOTHING = Value(value=0.0, low=0.0, high=0.0)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One figure that decides, and what it says by itself.

    `excess` is by how much the figure is worse than its reference, and 1 is the margin: a forget
    figure is compared with the retrained model, or with 0 where there is none; a retain figure
    with the original model.
    """

    result: Result
    excess: Value

    @property
    def answer(self) -> Answer:
        if self.excess.high <= 1:
            return "yes"
        return "no" if self.excess.low > 1 and not self.is_unlike else "inconclusive"

    @property
    def is_unlike(self) -> bool:
        """Whether samples are unlike the original model's, which need not be worse."""
        return self.result.spec.likeness and self.excess.low > 1


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What one side comes to: the worst of its figures."""

    answer: Answer
    found: tuple[Finding, ...]  # primary figures first

    @property
    def decisive(self) -> Finding | None:
        """The figure that the answer rests on: the first one where all agree."""
        if self.answer == "yes":
            return self.found[0]
        agreeing = [finding for finding in self.found if finding.answer == self.answer]
        return max(agreeing or self.found, key=lambda f: f.excess.low, default=None)

    @property
    def collapsed(self) -> bool:
        """Whether every primary figure is worse than half as good as the original model's."""
        results = [finding.result for finding in self.found]
        primary = [r for r in results if r.spec.role == "primary" and not r.spec.likeness]
        return bool(primary) and all(_has_halved(result) for result in primary)


def find_forgotten(evaluation: Evaluation) -> Findings:
    """Whether the forgotten thing is gone."""
    found = _gather(evaluation, "forget", lambda result: _above_reference(result, result.own))
    if found.found and is_unchanged(evaluation):
        return Findings(answer="no", found=found.found)
    return found


def find_retained(evaluation: Evaluation) -> Findings:
    """Whether the rest is as it was; a model without finite outputs is damaged."""
    if evaluation.broken:
        return Findings(answer="no", found=())
    return _gather(evaluation, "retain", lambda r: _in_margins(difference_of(r), r))


def was_there(findings: Findings) -> bool:
    """Whether the original model shows any of what was to be forgotten."""
    return any(_above_reference(f.result, f.result.baseline).high > 1 for f in findings.found)


def _gather(evaluation: Evaluation, side: Side, measure: Callable[[Result], Value]) -> Findings:
    found = tuple(
        Finding(result=result, excess=measure(result))
        for role in ("primary", "secondary")
        for result in evaluation.results
        if (result.spec.role, result.spec.side) == (role, side)
        and result.spec.margin is not None
        and is_finite(result)
    )
    for answer in WORST:
        if any(finding.answer == answer for finding in found):
            return Findings(answer=answer, found=found)
    return Findings(answer="not_measured", found=found)


def _has_halved(result: Result) -> bool:
    if result.spec.better == "more":
        return result.high < 0.5 * result.baseline.low
    return result.low > 2 * result.baseline.high


def _above_reference(result: Result, own: Value) -> Value:
    """How much more of the forgotten thing there is than in a model trained without it."""
    reference = NOTHING if result.retrained is None else result.retrained
    return _in_margins(independent_difference(own, reference), result)


def difference_of(result: Result) -> Value:
    """Result less original model: paired by seed, or from the two intervals."""
    return result.difference or independent_difference(result.own, result.baseline)


def _in_margins(change: Value, result: Result) -> Value:
    """A change for the worse in units of the margin."""
    size = margin_of(result.spec, result.baseline.value)
    if result.spec.better == "more":
        size = -size
    ends = sorted((change.low / size, change.high / size))
    return Value(value=change.value / size, low=ends[0], high=ends[1])


def margin_of(spec: Spec, original: float) -> float:
    """The margin in the figure's unit."""
    assert spec.margin is not None  # of figures that decide
    return spec.margin.value * (abs(original) or 1.0 if spec.margin.relative else 1.0)


def is_finite(result: Result) -> bool:
    """Whether all numbers are: what is not a number was not measured."""
    numbers = (n for v in (result.own, result.baseline) for n in (v.value, v.low, v.high))
    return all(map(math.isfinite, numbers))


def is_unchanged(evaluation: Evaluation) -> bool:
    """Whether the model generates what the original model generates."""
    return evaluation.change.get("samples", math.inf) < SAME
