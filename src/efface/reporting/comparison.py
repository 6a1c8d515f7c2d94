"""Several runs beside each other: what may stand in one row, and what may not."""

import hashlib
import itertools
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from efface.evaluation.wording import (
    DASH,
    format_difference,
    format_interval,
    format_range,
    format_value,
    join_words,
    shorten,
)
from efface.records import Result, RunRecord, Spec, Value
from efface.reporting.findings import is_finite
from efface.reporting.run_folder import Run
from efface.requests import words_of

Place = tuple[int, int]  # of a run in what was given, and of a result in its evaluation
Extractor = tuple[str, str]  # name and SHA-256; empty where the figure needs none
SHORT = 8  # digits of a hash that a reader compares
DIRECTIONS: dict[str | None, tuple[str, str]] = {
    "more": ("↑", "higher is better"),
    "less": ("↓", "lower is better"),
    "zero": ("→0", "best at 0"),
    None: ("", "neither good nor bad by itself"),
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of one run with its interval, or of several seeds: their mean and their range."""

    value: float
    low: float
    high: float
    values: tuple[float, ...]  # one per seed
    seeds: tuple[int | None, ...] = ()  # of training, in the order of the values
    places: tuple[Place, ...] = ()  # of the results that the values are of
    difference: Value | None = None  # from the original model, over several seeds

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
class RowKey:
    """What figures of one row have in common; measured on other terms they are in another row."""

    request: str  # the label of such requests
    spec: Spec
    extractor: Extractor
    samples: int
    terms: tuple[tuple[str, str], ...]

    @property
    def measured_with(self) -> str:
        """Name and first digits of the hash of the extractor; empty where there is none."""
        name, digest = self.extractor
        return shorten(f"{name} {digest[:SHORT]}".strip())


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One metric, measured with one extractor at one sample count: a cell per entry of a base.

    `apart` names the terms that tell this row from others of its metric, and is empty where there
    is no such row.
    """

    key: RowKey
    original: Figure
    cells: tuple[Figure | None, ...]
    apart: str = ""


@dataclass(frozen=True, kw_only=True)
class Base:
    """All runs that began from the same weights. Those on others are never in one row with them."""

    source: str
    digest: str  # of the hashes of the weights
    entries: tuple[Entry, ...]
    rows: tuple[MetricRow, ...]

    @property
    def runs(self) -> list[int]:
        """Positions of the runs in what was given."""
        return sorted(n for entry in self.entries for n in entry.runs)


def compare_runs(runs: Sequence[Run], outcomes: Sequence[str]) -> list[Base]:
    """Group runs by base model, seeds by what they repeat, figures by how they were measured."""
    bases: dict[str, list[list[int]]] = {}
    for n, run in enumerate(runs):
        groups = bases.setdefault(digest_base(run.record), [])
        own = next((group for group in groups if _repeats(run, [runs[i] for i in group])), None)
        if own is None:
            groups.append([n])
        else:
            own.append(n)
    numbers = itertools.count(1)
    found = []
    for digest, groups in bases.items():
        entries = [_entry(next(numbers), group, runs, outcomes) for group in groups]
        source = shorten(str(runs[groups[0][0]].record.model.get("source")))
        rows = tuple(_rows(groups, runs))
        found.append(Base(source=source, digest=digest, entries=tuple(entries), rows=rows))
    return found


def digest_base(record: RunRecord) -> str:
    """What tells one base model from another: its weights, or its name where none are recorded."""
    weights = record.model.get("weights")
    if isinstance(weights, dict) and len(weights) == 1:
        return str(next(iter(weights.values())))
    text = json.dumps(weights or ["source", record.model.get("source")], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _repeats(run: Run, others: Sequence[Run]) -> bool:
    """Whether a run differs from others in its seed alone; a repeated seed is no second draw."""
    seeds = {find_seed(other.record) for other in others}
    same = _unseeded(run.record) == _unseeded(others[0].record)
    return same and find_seed(run.record) not in {None, *seeds}


def _unseeded(record: RunRecord) -> list[Any]:
    settings = {
        name: {k: v for k, v in part.items() if k != "seed"} if isinstance(part, dict) else part
        for name, part in record.settings.items()
    }
    return [record.request, record.material, settings, record.start]


def find_seed(record: RunRecord) -> int | None:
    train = record.settings.get("train")
    seed = train.get("seed") if isinstance(train, dict) else None
    return seed if isinstance(seed, int) else None


def _entry(number: int, group: list[int], runs: Sequence[Run], outcomes: Sequence[str]) -> Entry:
    seeds = tuple(find_seed(runs[n].record) for n in group)
    name = shorten(runs[group[0]].name)
    if len(group) > 1:
        method = shorten(runs[group[0]].record.method)
        name = f"{method}, seeds {join_words([str(seed) for seed in seeds])}"
    return Entry(
        number=number,
        name=name,
        runs=tuple(group),
        names=tuple(runs[n].name for n in group),
        seeds=seeds,
        outcomes=tuple(outcomes[n] for n in group),
    )


def _rows(groups: Sequence[list[int]], runs: Sequence[Run]) -> list[MetricRow]:
    found: dict[RowKey, list[list[Place]]] = {}
    for cell, group in enumerate(groups):
        for n in group:
            for i, result in enumerate(runs[n].evaluation.results):
                if is_finite(result):
                    cells = found.setdefault(_row_key(runs[n], result), [[] for _ in groups])
                    cells[cell].append((n, i))
    rows = [_row(key, found, runs) for key in found]
    return sorted(rows, key=lambda row: (row.key.request, row.key.spec.side))


def _row_key(run: Run, result: Result) -> RowKey:
    extractor = result.extractor or {}
    return RowKey(
        request=words_of(run.record.request).label,
        spec=result.spec,
        extractor=(extractor.get("name", ""), extractor.get("sha256", "")),
        samples=result.samples,
        terms=tuple(sorted(run.evaluation.terms.items())),
    )


def _tell_apart(key: RowKey, keys: Iterable[RowKey]) -> str:
    """The terms in which a row differs from another that is the same but for them."""
    own, names = dict(key.terms), set[str]()
    for other in keys:
        same = replace(other, terms=key.terms, samples=key.samples)
        if same == key:
            others = dict(other.terms)
            names |= {name for name in {*own, *others} if own.get(name) != others.get(name)}
    return "; ".join(f"{name}: {own[name]}" for name in sorted(names & own.keys()))


def _row(
    key: RowKey, found: Mapping[RowKey, Sequence[Sequence[Place]]], runs: Sequence[Run]
) -> MetricRow:
    cells = found[key]
    figures = tuple(_cell(cell, runs) if cell else None for cell in cells)
    originals = [runs[n].evaluation.results[i].baseline for cell in cells for n, i in cell]
    distinct = {(value.value, value.low, value.high): value for value in originals}
    return MetricRow(
        key=key,
        original=_figure(list(distinct.values())),  # one where all runs saw the same of it
        cells=figures,
        apart=_tell_apart(key, found),
    )


def _cell(cell: Sequence[Place], runs: Sequence[Run]) -> Figure:
    results = [runs[n].evaluation.results[i] for n, i in cell]
    # Result less original model, each pair measured alike.
    pairs = [(result.value, result.baseline.value) for result in results]
    return replace(
        _figure([result.own for result in results]),
        seeds=tuple(find_seed(runs[n].record) for n, _ in cell),
        places=tuple(cell),
        difference=mean_difference(pairs) if len(pairs) > 1 else None,
    )


def mean_difference(pairs: Sequence[tuple[float, float]]) -> Value:
    """Mean of first less second over the pairs, with its 95 % interval."""
    import numpy as np  # it and scipy take their time, and one run needs neither

    from efface.metrics.intervals import paired_difference

    found = paired_difference(*np.array(pairs).T)
    return Value(value=found.value, low=found.low, high=found.high)


def _figure(found: Sequence[Value]) -> Figure:
    values = tuple(value.value for value in found)
    if len(values) == 1:
        return Figure(value=values[0], low=found[0].low, high=found[0].high, values=values)
    return Figure(value=statistics.fmean(values), low=min(values), high=max(values), values=values)


def write_figure(figure: Figure | None, unit: str) -> tuple[str, str]:
    """Value and interval, or the mean over seeds with its range and standard deviation."""
    if figure is None:
        return DASH, ""
    interval = format_interval(figure.low, figure.high, unit)
    if figure.spread is not None:
        interval = format_range(figure.low, figure.high, unit)
        interval += f", s.d. {format_value(figure.spread, unit)} over {len(figure.values)} seeds"
    return format_value(figure.value, unit), interval


def flat(name: str, found: Figure | Value | None) -> dict[str, float | None]:
    """A value and its ends by names of columns; of "" they are value, low and high."""
    titles = [name, f"{name}_low", f"{name}_high"] if name else ["value", "low", "high"]
    ends = (None,) * 3 if found is None else (found.value, found.low, found.high)
    return dict(zip(titles, ends, strict=True))


def write_difference(value: Value, unit: str) -> str:
    return format_difference(value.value, value.low, value.high, unit)
