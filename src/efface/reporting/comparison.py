"""Several runs beside each other: what may stand in one row, and what may not."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from efface.records import Result, RunRecord, Value
from efface.reporting.glossary import GROUPS, Term, explain
from efface.reporting.run_folder import Run
from efface.reporting.sentences import METHODS
from efface.reporting.wording import join_words, shorten

Extractor = tuple[str, str]  # name and SHA-256; empty where the figure needs none
SHORT = 8  # digits of a hash that a reader compares


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of one run with its interval, or of several seeds: their mean and their range."""

    value: float
    low: float
    high: float
    values: tuple[float, ...]  # one per seed
    difference: Value | None = None  # from the untouched model, over several seeds

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for one run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run, or the runs of one request, method and settings that differ in their seed alone."""

    number: int  # from 1, over all base models
    name: str
    runs: tuple[int, ...]  # positions in what was given
    names: tuple[str, ...]
    seeds: tuple[int | None, ...]
    outcomes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One metric, seen with one extractor at one sample count: a cell per entry of a base."""

    kind: str  # of the request
    metric: str
    term: Term
    unit: str
    higher_is_better: bool | None
    extractor: Extractor
    samples: int
    untouched: Figure
    cells: tuple[Figure | None, ...]

    @property
    def seen_with(self) -> str:
        """Name and first digits of the hash of the extractor; empty where there is none."""
        name, digest = self.extractor
        return shorten(f"{name} {digest[:SHORT]}".strip())


@dataclass(frozen=True, kw_only=True)
class Base:
    """All runs that began from the same weights. Those on others are never in one row with them."""

    source: str
    digest: str  # of the hashes of the weights
    entries: tuple[Entry, ...]
    rows: tuple[MetricRow, ...]


def compare_runs(runs: Sequence[Run], outcomes: Sequence[str]) -> list[Base]:
    """Group runs by base model, seeds by what they repeat, and figures by how they were seen."""
    bases: dict[str, list[int]] = {}
    for n, run in enumerate(runs):
        bases.setdefault(digest_base(run.record), []).append(n)
    found, number = [], 1
    for digest, members in bases.items():
        groups = _group_seeds([(n, runs[n]) for n in members])
        entries = [_entry(number + i, group, runs, outcomes) for i, group in enumerate(groups)]
        number += len(entries)
        found.append(
            Base(
                source=shorten(str(runs[members[0]].record.model.get("source"))),
                digest=digest,
                entries=tuple(entries),
                rows=tuple(_rows(groups, runs)),
            )
        )
    return found


def digest_base(record: RunRecord) -> str:
    """What tells one base model from another: its weights, or its name where none are recorded."""
    weights = record.model.get("weights")
    if isinstance(weights, dict) and len(weights) == 1:
        return str(next(iter(weights.values())))
    return _digest(weights if weights else ["source", record.model.get("source")])


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _group_seeds(members: Sequence[tuple[int, Run]]) -> list[list[int]]:
    """Runs that differ in their seed alone, in the order given; a repeated seed begins anew."""
    groups: list[tuple[str, set[int | None], list[int]]] = []
    for n, run in members:
        key, seed = _repeated(run.record), find_seed(run.record)
        for known, seeds, group in groups:
            if known == key and seed is not None and seed not in seeds:
                seeds.add(seed)
                group.append(n)
                break
        else:
            groups.append((key, {seed}, [n]))
    return [group for _, _, group in groups]


def _repeated(record: RunRecord) -> str:
    settings = copy.deepcopy(record.settings)
    for part in ("train", "evaluate"):
        if isinstance(settings.get(part), dict):
            settings[part].pop("seed", None)
    return _digest([record.request, settings, record.start])


def find_seed(record: RunRecord) -> int | None:
    train = record.settings.get("train")
    seed = train.get("seed") if isinstance(train, dict) else None
    return seed if isinstance(seed, int) else None


def _entry(number: int, group: list[int], runs: Sequence[Run], outcomes: Sequence[str]) -> Entry:
    seeds = tuple(find_seed(runs[n].record) for n in group)
    name = shorten(runs[group[0]].name)
    if len(group) > 1:
        method = runs[group[0]].record.settings.get("method")
        method = str(method.get("name")) if isinstance(method, dict) else "run"
        method = METHODS.get(method, shorten(method))
        name = f"{method}, seeds {join_words([str(s) for s in seeds])}"
    return Entry(
        number=number,
        name=name,
        runs=tuple(group),
        names=tuple(runs[n].name for n in group),
        seeds=seeds,
        outcomes=tuple(outcomes[n] for n in group),
    )


def _rows(groups: Sequence[list[int]], runs: Sequence[Run]) -> list[MetricRow]:
    found: dict[tuple[Any, ...], list[list[Result]]] = {}
    for place, group in enumerate(groups):
        for n in group:
            kind = str(runs[n].record.request.get("kind"))
            for result in runs[n].evaluation.results:
                if not _is_finite(result):
                    continue
                key = (
                    kind, result.metric, result.unit, result.higher_is_better,
                    find_extractor(result), result.samples,
                )  # fmt: skip
                found.setdefault(key, [[] for _ in groups])[place].append(result)
    rows = [_row(key, cells) for key, cells in found.items()]
    return sorted(rows, key=lambda row: (row.kind, GROUPS.index(row.term.group)))


def _is_finite(result: Result) -> bool:
    numbers = (v for x in (result, result.baseline) for v in (x.value, x.low, x.high))
    return all(map(math.isfinite, numbers))


def _row(key: tuple[Any, ...], cells: Sequence[Sequence[Result]]) -> MetricRow:
    kind, metric, unit, better, extractor, samples = key
    every = [result for cell in cells for result in cell]
    return MetricRow(
        kind=kind,
        metric=metric,
        term=explain(metric, kind),
        unit=unit,
        higher_is_better=better,
        extractor=extractor,
        samples=samples,
        untouched=_baseline(every),
        cells=tuple(_cell(cell) if cell else None for cell in cells),
    )


def _cell(results: Sequence[Result]) -> Figure:
    figure = _figure(results, lambda result: result)
    return figure if len(results) == 1 else replace(figure, difference=_difference(results))


def _difference(results: Sequence[Result]) -> Value:
    """Mean over the seeds of result less untouched model, each pair measured alike; 95 %."""
    import numpy as np  # it and scipy take their time, and one run needs neither

    from efface.metrics.intervals import paired_difference

    own, untouched = np.array([(r.value, r.baseline.value) for r in results]).T
    found = paired_difference(own, untouched)
    return Value(value=found.value, low=found.low, high=found.high)


def _baseline(results: Sequence[Result]) -> Figure:
    """The untouched model: its interval where every run saw the same of it, or the range."""
    distinct = {(r.baseline.value, r.baseline.low, r.baseline.high): r for r in results}
    return _figure(list(distinct.values()), lambda result: result.baseline)


def _figure(results: Sequence[Result], find: Callable[[Result], Result | Value]) -> Figure:
    found = [find(result) for result in results]
    values = tuple(value.value for value in found)
    if len(values) == 1:
        return Figure(value=values[0], low=found[0].low, high=found[0].high, values=values)
    return Figure(value=statistics.fmean(values), low=min(values), high=max(values), values=values)


def find_extractor(result: Result) -> Extractor:
    """What a figure was seen with: two that differ in it are never in one row."""
    given = result.extractor or {}
    return given.get("name", ""), given.get("sha256", "")
