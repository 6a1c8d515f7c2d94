"""Evidence for requests to forget labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from efface.config import EvaluateConfig
from efface.evaluation.observers import JudgeObserver, observations
from efface.evaluation.sample_sets import SampleSet, Subject, observe
from efface.evaluation.store import Store
from efface.metrics.base import Metric, Observations, Side
from efface.metrics.fid import FID
from efface.metrics.intervals import Estimate
from efface.metrics.judge import Judge
from efface.metrics.precision import Precision
from efface.metrics.recall import Recall
from efface.metrics.retained_accuracy import RetainedAccuracy
from efface.metrics.unlearning_accuracy import (
    ForgottenEntropy,
    ForgottenProbability,
    UnlearningAccuracy,
)
from efface.records import Evaluation, Result, Value

CLASS_METRICS: tuple[Metric, ...] = (
    UnlearningAccuracy(),
    ForgottenProbability(),
    ForgottenEntropy(),
    RetainedAccuracy(),
    FID(),
    Precision(),
    Recall(),
)
SAMPLING = {
    "result": "sampling the result",
    "baseline": "sampling the untouched model",
    "baseline_one_step": "the untouched model, one step",
    "retrained": "sampling the retrained model",
}
SIDES: tuple[Side, ...] = ("forget", "retain")


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassSubjects:
    """The result and what it is compared with."""

    result: Subject
    untouched: Subject
    untouched_one_step: Subject | None = None  # for context, beside a one-step generator
    retrained: Subject | None = None  # a model that never saw the forgotten labels

    def named(self) -> dict[str, Subject]:
        named = {
            "result": self.result,
            "baseline": self.untouched,
            "baseline_one_step": self.untouched_one_step,
            "retrained": self.retrained,
        }
        return {name: subject for name, subject in named.items() if subject is not None}


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassProtocol:
    """Which samples are drawn: labels take turns, sample i has seed first + i."""

    forgotten: Sequence[int]
    retained: Sequence[int]
    config: EvaluateConfig

    def asked(self, side: Side) -> np.ndarray:
        labels = np.array(self.forgotten if side == "forget" else self.retained, dtype=np.int64)
        count = self.config.forget_samples if side == "forget" else self.config.retain_samples
        return labels[np.arange(count) % len(labels)] if len(labels) else labels

    def seeds(self, side: Side) -> range:
        first = self.config.seed + (0 if side == "forget" else self.config.forget_samples)
        return range(first, first + len(self.asked(side)))


def observe_labels(
    subject: Subject, protocol: ClassProtocol, judge: Judge, store: Store, what: str
) -> dict[Side, Observations]:
    """Draw both sides once and let the judge see them."""
    seen: dict[Side, Observations] = {}
    for side in SIDES:
        asked = protocol.asked(side)
        if len(asked) == 0:
            continue
        samples = SampleSet(
            subject=subject,
            seeds=protocol.seeds(side),
            asked=asked.tolist(),
            batch_size=protocol.config.batch_size,
        )
        arrays = observe(samples, {"judge": JudgeObserver(judge=judge)}, store, what)
        seen[side] = observations(arrays["judge"], asked)
    return seen


def evaluate_labels(
    subjects: ClassSubjects, protocol: ClassProtocol, judge: Judge, store: Store
) -> Evaluation:
    """Measure the result and all it is compared with by one protocol."""
    seen = {
        name: observe_labels(subject, protocol, judge, store, SAMPLING[name])
        for name, subject in subjects.named().items()
    }
    reference = judge.reference_without(protocol.forgotten)

    def compute(metric: Metric, name: str) -> Value | None:
        if name not in seen:
            return None
        observed = seen[name][metric.side]
        return as_value(metric.compute(observed, protocol.forgotten, reference))

    results = []
    for metric in CLASS_METRICS:
        if metric.side not in seen["result"]:
            continue
        own, baseline = compute(metric, "result"), compute(metric, "baseline")
        assert own is not None and baseline is not None
        seeds = protocol.seeds(metric.side)
        results.append(
            Result(
                metric=metric.name,
                **own.model_dump(),
                unit=metric.unit,
                higher_is_better=metric.higher_is_better,
                samples=len(seeds),
                seeds=[seeds[0], seeds[-1]],
                protocol=_describe(metric, subjects, judge, len(reference)),
                baseline=baseline,
                baseline_one_step=compute(metric, "baseline_one_step"),
                retrained=compute(metric, "retrained"),
            )
        )
    return Evaluation(results=results, judge=judge.reported())


def as_value(estimate: Estimate) -> Value:
    return Value(value=estimate.value, low=estimate.low, high=estimate.high)


def _describe(metric: Metric, subjects: ClassSubjects, judge: Judge, references: int) -> str:
    text = (
        f"result: {subjects.result.sampler.describe()}; "
        f"untouched model: {subjects.untouched.sampler.describe()}; judge: {judge.name}"
    )
    if metric.needs_reference:
        text += f", features against {references} real training images of the retained labels"
    return text
