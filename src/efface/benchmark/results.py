"""What a benchmark found: `bench.json`, and how it comes from the runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from efface.benchmark.file import Scalar
from efface.benchmark.rows import Job
from efface.benchmark.work import ATTACK, read_done
from efface.evaluation.wording import is_share
from efface.records import (
    Attacks,
    Content,
    Evaluation,
    Result,
    RunRecord,
    Spec,
    Value,
    read_attacks,
    read_evaluation,
    read_record,
)
from efface.reporting.comparison import mean_difference
from efface.reporting.findings import find_forgotten, find_retained, is_finite, margin_of
from efface.reporting.resistance import find_resistance
from efface.reporting.verdict import judge_run

ALL = "all requests"


class Relearned(Content):
    """Steps until half of what was forgotten is back; None: not within the whole budget."""

    half: float | None
    retrained: float | None = None  # the same of the retrained model; None without one, too


class BenchRun(Content):
    """One run with its figures."""

    row: str
    method: str = ""  # as papers call it
    request: str
    asked: dict[str, Any]
    seed: int
    value: Scalar | None  # of the row's strength
    selection: bool
    folder: str
    settings: dict[str, Any]
    status: Literal["finished", "collapsed", "failed"]
    reason: str | None = None
    answers: dict[str, str] = {}
    excess: dict[str, float] = {}  # by figure that decides: how much worse, and 1 is the margin
    from_retrained: float | None = None  # the largest difference from that model, in margins
    relearned: Relearned | None = None
    steps: int | None = None
    forwards: int | None = None
    seconds: float | None = None
    memory: int | None = None  # peak bytes of training
    commit: str | None = None  # that made it
    results: list[Result] = []


class BenchFigure(Content):
    """A figure of a row: means over its runs, with 95 % intervals over runs."""

    name: str
    spec: Spec
    extractor: str | None
    request: str
    runs: int
    value: Value
    original: Value
    difference: Value  # from the original model, paired by run
    retrained: Value | None

    @property
    def label(self) -> str:
        return self.spec.label


class BenchRow(Content):
    """A method, or a model that was measured as it is."""

    name: str
    method: str
    trained: bool
    strength: Scalar | None
    runs: int
    collapsed: int
    failed: list[str]
    front: bool = False  # no other method is as good in all primary figures and better in one
    figures: list[BenchFigure]
    forwards: Value | None
    steps: Value | None
    seconds: Value | None
    memory: Value | None
    relearned: Relearned | None
    from_retrained: Value | None

    def get(self, name: str) -> BenchFigure | None:
        return next((f for f in self.figures if (f.name, f.request) == (name, ALL)), None)


class Tried(Content):
    """A value of a strength on the selection."""

    row: str
    value: Scalar
    forwards: float | None
    excess: float | None  # the largest mean excess of a figure that decides; None: out
    reason: str
    chosen: bool = False


class Bench(Content):
    """`bench.json`."""

    schema_version: Literal[1] = 1
    file: dict[str, Any]
    command: str
    commit: str | None
    date: str
    machine: dict[str, Any]
    seeds: list[int]
    rows: list[BenchRow]
    tried: list[Tried]
    runs: list[BenchRun]


def read_bench_run(job: Job, runs: Path, reason: str | None) -> BenchRun:
    """The figures of a job that was done, or why it failed."""
    found = BenchRun(
        row=job.row,
        request=job.request.describe(),
        asked=job.request.model_dump(mode="json"),
        seed=job.seed,
        value=job.value,
        selection=job.selection,
        folder=job.folder,
        settings=job.settings,
        status="failed",
        reason=reason,
    )
    done, run = read_done(job, runs), runs / job.folder
    if reason is not None or done is None:
        return found
    record, evaluation = read_record(run), read_evaluation(run)
    attacks = None if job.attack is None else read_attacks(run)
    measured = [result for result in evaluation.results if is_finite(result)]
    retained = find_retained(evaluation)
    broken = record.status == "collapsed" or evaluation.broken or retained.collapsed
    decisive = (*find_forgotten(evaluation).found, *retained.found)
    return found.model_copy(
        update={
            "method": record.method,
            "status": "collapsed" if broken else "finished",
            "answers": dict(judge_run(record, evaluation, attacks=attacks).answers),
            "excess": {key(finding.result): finding.excess.value for finding in decisive},
            "from_retrained": _from_retrained(evaluation),
            "relearned": _relearned(record, attacks),
            "steps": record.steps,
            "forwards": record.forwards,
            "seconds": record.seconds,
            "memory": done.memory,
            "commit": done.commit,
            "results": measured,
        }
    )


def key(result: Result) -> str:
    """What figures of several runs have in common."""
    network = (result.extractor or {}).get("name")
    return result.metric if network is None else f"{result.metric} ({network})"


def _from_retrained(evaluation: Evaluation) -> float | None:
    far = [
        abs(result.value - result.retrained.value) / margin_of(result.spec, result.baseline.value)
        for result in evaluation.results
        if result.retrained is not None and result.spec.margin is not None and is_finite(result)
    ]
    return max(far, default=None)


def _relearned(record: RunRecord, attacks: Attacks | None) -> Relearned | None:
    """None where no attack was run, and where its positive control failed."""
    for finding in find_resistance(record, attacks).findings:
        if finding.result.attack == ATTACK and not finding.result.void and finding.half:
            retrained = None if finding.retrained is None else finding.retrained.budget
            return Relearned(half=finding.half.budget, retrained=retrained)
    return None


def make_rows(runs: Sequence[BenchRun]) -> list[BenchRow]:
    """A row for every name, of the runs that are reported, the Pareto front marked."""
    reported = [run for run in runs if not run.selection]
    names = dict.fromkeys(run.row for run in reported)
    rows = [_row(name, [run for run in reported if run.row == name]) for name in names]
    merits = {row.name: _merits(row) for row in rows if row.trained and row.runs}
    return [
        row.model_copy(update={"front": row.name in merits and _is_best(row.name, merits)})
        for row in rows
    ]


def _row(name: str, runs: Sequence[BenchRun]) -> BenchRow:
    done = [run for run in runs if run.status != "failed"]
    requests = dict.fromkeys(run.request for run in done)
    groups = {ALL: done} | {one: [r for r in done if r.request == one] for one in requests}
    return BenchRow(
        name=name,
        method=done[0].method if done else "",
        trained=any(run.forwards is not None for run in done),
        strength=runs[0].value,
        runs=len(done),
        collapsed=sum(run.status == "collapsed" for run in done),
        failed=list(dict.fromkeys(run.reason or "not done" for run in runs if run not in done)),
        figures=[f for request, group in groups.items() for f in _figures(request, group)],
        forwards=_mean_of(done, lambda run: run.forwards),
        steps=_mean_of(done, lambda run: run.steps),
        seconds=_mean_of(done, lambda run: run.seconds),
        memory=_mean_of(done, lambda run: run.memory),
        relearned=_median_relearned([r.relearned for r in done if r.relearned is not None]),
        from_retrained=_mean_of(done, lambda run: run.from_retrained),
    )


def _figures(request: str, runs: Sequence[BenchRun]) -> list[BenchFigure]:
    found: dict[str, list[Result]] = {}
    for run in runs:
        for result in run.results:
            found.setdefault(key(result), []).append(result)
    return [_figure(name, request, results) for name, results in found.items()]


def _figure(name: str, request: str, results: Sequence[Result]) -> BenchFigure:
    labels = {result.spec.label for result in results}
    first = results[0]
    # Of each run another class may be the worst: "Worst class (3)".
    label = first.spec.label if len(labels) == 1 else first.spec.label.partition(" (")[0]
    retrained = [r.retrained for r in results if r.retrained is not None]
    differences = [r.difference for r in results if r.difference is not None]
    return BenchFigure(
        name=name,
        spec=first.spec.model_copy(update={"label": label}),
        extractor=(first.extractor or {}).get("name"),
        request=request,
        runs=len(results),
        value=_within(mean_value([result.own for result in results]), first.unit),
        original=_within(mean_value([result.baseline for result in results]), first.unit),
        difference=mean_value(differences),
        retrained=mean_value(retrained) if len(retrained) == len(results) else None,
    )


def _within(value: Value, unit: str) -> Value:
    """Of a share, the part of an interval that shares can have."""
    if not is_share(unit):
        return value
    low, high = (min(max(end, 0.0), 1.0) for end in (value.low, value.high))
    return Value(value=value.value, low=min(low, value.value), high=max(high, value.value))


def mean_value(values: Sequence[Value]) -> Value:
    """The mean with its 95 % interval by Student over the values; one value keeps its own."""
    if len(values) == 1:
        return values[0]
    return mean_difference([(value.value, 0.0) for value in values])


def _mean_of(runs: Sequence[BenchRun], read: Callable[[BenchRun], float | None]) -> Value | None:
    known = [float(n) for n in map(read, runs) if n is not None]
    return mean_value([Value(value=n, low=n, high=n) for n in known]) if known else None


def _median_relearned(found: Sequence[Relearned]) -> Relearned | None:
    """Medians, in which what did not come back counts as more than anything."""
    if not found:
        return None
    return Relearned(
        half=_median([one.half for one in found]),
        retrained=_median([one.retrained for one in found]),
    )


def _median(budgets: Sequence[float | None]) -> float | None:
    middle = statistics.median_high(math.inf if n is None else n for n in budgets)
    return middle if math.isfinite(middle) else None


def primary(row: BenchRow) -> list[BenchFigure]:
    """The figures that decide first, those of forgetting before those of the rest."""
    own = [f for f in row.figures if f.request == ALL and f.spec.role == "primary"]
    return sorted(own, key=lambda figure: figure.spec.side)


def merit(figure: BenchFigure) -> float:
    """The figure's value, turned so that more is better."""
    if figure.spec.better == "zero":
        return -abs(figure.value.value)
    return figure.value.value if figure.spec.better == "more" else -figure.value.value


def _merits(row: BenchRow) -> dict[str, float]:
    return {figure.name: merit(figure) for figure in primary(row)}


def _is_best(name: str, merits: dict[str, dict[str, float]]) -> bool:
    """Whether no other row is at least as good in all figures that both have, and better in one."""
    own = merits[name]
    for other in merits.values():
        shared = own.keys() & other.keys()
        as_good = all(other[n] >= own[n] for n in shared)
        if shared and as_good and any(other[n] > own[n] for n in shared):
            return False
    return bool(own)
