"""What every evaluation is: the same samples and probes of every model, and figures made of them.

A kind of request says which samples, which probes and which figures, in a `Protocol`. The loop is
here, once: for a run's evaluation, for every model beside the result, and for verification.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from efface.diffusion.model_folder import ModelInfo
from efface.evaluation.change import BROKEN, PROTOCOL, is_broken, measure_change, weight_change
from efface.evaluation.sample_sets import Asked, Observer, SampleSet, Subject, observe
from efface.evaluation.store import Arrays, Store, digest_of_json
from efface.evaluation.subjects import SAMPLING, Job, Subjects
from efface.evaluation.views import JudgeView, View
from efface.metrics.base import Metric, Observations
from efface.metrics.differences import independent_difference
from efface.metrics.intervals import Estimate, difference
from efface.records import Evaluation, Result, Spec, Value
from efface.settings.evaluate import EvaluateSettings

Looked = dict[str, Arrays]  # what each observer saw of one set of samples, or each probe found
Seen = dict[str, Looked]  # of one model, by set of samples; that of probes is PROBES
PROBES = "probes"
Terms = dict[str, str]
SHOWN = 12  # digits of a hash


@dataclass(frozen=True, eq=False, kw_only=True)
class Samples:
    """A set of samples that every model draws from the same seeds, and who looks at it."""

    seeds: range
    observers: Mapping[str, Observer]
    asked: Asked | None = None  # None: unconditional samples

    def drawn_from(self, subject: Subject, batch_size: int) -> SampleSet:
        return SampleSet(subject=subject, seeds=self.seeds, asked=self.asked, batch_size=batch_size)


@dataclass(frozen=True, eq=False, kw_only=True)
class Protocol(ABC):
    """How all models of a run are measured."""

    views: Mapping[str, View]
    config: EvaluateSettings

    @abstractmethod
    def samples(self) -> Mapping[str, Samples]:
        """Sets of samples by name; one that nobody looks at is not drawn."""

    def probe(self, subject: Subject, store: Store) -> Looked:
        """What else is measured of a model, without samples."""
        return {}

    @abstractmethod
    def report(self, seen: Mapping[str, Seen], subjects: Subjects) -> Evaluation:
        """Figures, curves and terms, from what was seen of every model."""

    def write_sheets(
        self, folder: Path, seen: Mapping[str, Seen], subjects: Subjects, store: Store
    ) -> None:
        """The images of a report, into `folder`."""
        del folder, seen, subjects, store


def evaluate(
    job: Job, protocol: Protocol, made: ModelInfo, retained: Sequence[Any] | None
) -> Evaluation:
    """All that is measured of a run whose result lies in `made`; writes the sheets of samples.

    `retained` are labels or prompts that are retained, None for a model without conditions.
    """
    subjects, store = job.subjects, job.store
    if is_broken(subjects.result, store):  # nothing can be measured
        return Evaluation(results=[], broken=True, change_protocol=BROKEN)
    seen = observe_all(subjects, protocol, store)
    protocol.write_sheets(job.run / "samples", seen, subjects, store)
    evaluation = protocol.report(seen, subjects)
    change = {"weights": weight_change(made.weights_folder, subjects.info.weights_folder)}
    change |= measure_change(
        subjects.result, subjects.original, retained, store, protocol.config.batch_size
    )
    judge = protocol.views.get("judge")
    return evaluation.model_copy(
        update={
            "change": change,
            "change_protocol": PROTOCOL,
            "guidance": subjects.guidance,
            "terms": common_terms(subjects.original, protocol.views) | evaluation.terms,
            "judge": judge.judge.reported() if isinstance(judge, JudgeView) else None,
        }
    )


def observe_all(subjects: Subjects, protocol: Protocol, store: Store) -> dict[str, Seen]:
    """The loop: every model draws every set of samples, and answers every probe."""
    return {
        model: observe_model(subject, protocol, store, SAMPLING[model])
        for model, subject in subjects.named().items()
    }


def observe_model(
    subject: Subject, protocol: Protocol, store: Store, what: str = "sampling"
) -> Seen:
    """What is seen of one model; sets of the same samples are generated once for all observers."""
    seen: Seen = {}
    for name, samples in protocol.samples().items():
        if samples.observers:
            drawn = samples.drawn_from(subject, protocol.config.batch_size)
            seen[name] = observe(drawn, samples.observers, store, what)
    return seen | {PROBES: protocol.probe(subject, store)}


def of_models(seen: Mapping[str, Seen], samples: str, observer: str) -> dict[str, Arrays]:
    """What one observer saw of one set of samples, by model."""
    return {model: sets[samples][observer] for model, sets in seen.items()}


def common_terms(original: Subject, views: Mapping[str, View]) -> Terms:
    """On what terms figures were measured: evaluations that differ in any have no row in common.

    Not among them are what a figure itself names (its extractor, its number of samples) and seeds.
    """
    terms = {"original model": original.sampler.describe()}
    real = {name: view.compared_with for name, view in views.items()}
    return terms | {f"real images of the {n}": shorten(d) for n, d in real.items() if d is not None}


def digest_of(content: Any) -> str:
    """The first digits of the SHA-256 of anything that is JSON."""
    return shorten(digest_of_json(content))


def shorten(digest: str) -> str:
    return digest[:SHOWN]


def make_result(
    spec: Spec,
    values: Mapping[str, Estimate],
    seeds: range,
    *,
    protocol: str,
    samples: int | None = None,
    unseen: Estimate | None = None,
    extractor: dict[str, str] | None = None,
) -> Result:
    """`values` by model: "result" and "baseline", and what else was measured beside them.

    Of as many `samples` as there are seeds, unless said otherwise.
    """
    found = {name: _value(estimate) for name, estimate in values.items()}
    own, original = found["result"], found["baseline"]
    paired = difference(values["result"], values["baseline"])
    return Result(
        spec=spec,
        value=own.value,
        low=own.low,
        high=own.high,
        samples=len(seeds) if samples is None else samples,
        seeds=[seeds[0], seeds[-1]],
        protocol=protocol,
        baseline=original,
        difference=independent_difference(own, original) if paired is None else _value(paired),
        baseline_one_step=found.get("baseline_one_step"),
        retrained=found.get("retrained"),
        distilled=found.get("distilled"),
        unseen=None if unseen is None else _value(unseen),
        extractor=extractor,
    )


def view_result(
    view: View,
    metric: Metric,
    seen: Mapping[str, Observations],
    forgotten: Sequence[int],
    seeds: range,
    sampled: str,
) -> Result:
    """One metric of every model as a network sees their samples of `seeds`."""
    reference = view.reference(metric, forgotten)
    seen = {n: replace(own, forgotten=forgotten, real=reference) for n, own in seen.items()}
    called = "judge" if isinstance(view, JudgeView) else "seen by"
    protocol = f"{sampled}; {called}: {view.extractor['name']}"
    if metric.needs_reference:
        assert reference is not None
        kind = "of the retained labels" if len(forgotten) else "of training"
        protocol += f", features against {len(reference)} {view.real_name} {kind}"
    return make_result(
        metric.spec,
        {name: metric.compute(model) for name, model in seen.items()},
        seeds,
        samples=metric.samples(seen["result"]),
        protocol=protocol,
        extractor=view.extractor,
    )


def _value(estimate: Estimate) -> Value:
    return Value(value=float(estimate.value), low=float(estimate.low), high=float(estimate.high))
