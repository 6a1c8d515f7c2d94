"""A figure of every model by one protocol -> `Result`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from efface.evaluation.views import JudgeView, View
from efface.metrics.base import Metric, Observations
from efface.metrics.differences import independent_difference
from efface.metrics.intervals import Estimate, difference
from efface.records import Result, Spec, Value


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

    def value(name: str) -> Value | None:
        found = values.get(name)
        return None if found is None else _value(found)

    own, original = _value(values["result"]), _value(values["baseline"])
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
        baseline_one_step=value("baseline_one_step"),
        retrained=value("retrained"),
        distilled=value("distilled"),
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
