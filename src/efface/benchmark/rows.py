"""From a benchmark's file to its jobs: every run that may be needed, named by its content."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from efface import __version__
from efface.benchmark.budget import count_cost
from efface.benchmark.file import (
    RETRAINED,
    STEPS,
    UNTOUCHED,
    Asked,
    BenchFile,
    MethodRow,
    Scalar,
    named,
    seed_changes,
)
from efface.diffusion.model_folder import ModelInfo, inspect_model, missing_weights
from efface.diffusion.weight_files import hash_weights
from efface.errors import ConfigError
from efface.evaluation.store import digest
from efface.files import hash_file
from efface.requests.base import Request
from efface.runs.evaluate import EVALUATION
from efface.runs.place import INCIDENTAL, entries
from efface.runs.plan import Plan, make_plan
from efface.settings.base import METHOD, TRAIN, Settings

NAMED = 20  # digits of a digest that a folder is called by


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run: a method on a request with a seed, or a model that is measured as it is."""

    row: str
    request: Request
    seed: int
    model: str
    settings: dict[str, Any]  # as `record.json` holds them
    changes: tuple[str, ...] = ()  # to the recipe, in the form of `--set`
    method: str
    recipe: str | None = None
    judge: str | None = None
    retrained: str | None = None
    placed: str | None = None  # the model to measure, in place of training
    attack: tuple[str, ...] | None = None  # settings of relearning; None: no attack
    value: Scalar | None = None  # of the row's strength
    selection: bool = False  # whether a strength is chosen by it, rather than reported
    threads: int = 1
    digest: str = ""  # of everything that the run depends on

    @property
    def folder(self) -> str:
        return self.digest[:NAMED]

    @property
    def steps(self) -> int:
        return 0 if self.placed is not None else self.settings[TRAIN]["steps"]


def plan_jobs(file: BenchFile) -> list[Job]:
    """All jobs, those of every value of a strength too; an EffaceError for what any refuses.

    ConfigError where two rows would be measured unequally.
    """
    planned = [one for row in file.method for one in _of_method(file, row)]
    first = file.method[0]
    for job, _ in planned:
        same = (j for j, _ in planned if j.row == first.name and j.request == job.request)
        _check_alike(job, next(same, job))
    references = [
        reference
        for job, plan in planned
        if (job.row, job.value, job.selection) == (first.name, first.values[0], False)
        for reference in _references(file, job, plan)
    ]
    return [*references, *(job for job, _ in planned)]


def _of_method(file: BenchFile, row: MethodRow) -> Iterator[tuple[Job, Plan]]:
    """Of the requests and seeds that are reported, and of the selection where there is a choice."""
    sets = [(file.asked, file.seeds, False)]
    if file.selection is not None and row.strength is not None:
        sets.append((file.selected, file.selection.seeds, True))
    for value in row.values:
        changes = [*file.changes(row), *row.chosen(value)]
        with named(row.name):
            if file.forwards is not None:
                cost = count_cost(_plan(file, row, file.asked[0], changes))
                changes.append(f"{STEPS}={cost.steps_within(file.forwards)}")
            for asked, seeds, selection in sets:
                for one, seed in itertools.product(asked, seeds):
                    own = (*changes, *seed_changes(seed))
                    plan = _plan(file, row, one, own)
                    job = _job(file, row, one, plan)
                    yield replace(job, changes=own, value=value, selection=selection), plan


def _plan(file: BenchFile, row: MethodRow, asked: Asked, changes: Sequence[str]) -> Plan:
    return make_plan(
        file.model,
        asked.request,
        method=row.method_name,
        recipe=row.recipe,
        changes=changes,
        judge=file.judge,
        retrained=asked.retrained,
    )


def _job(file: BenchFile, row: MethodRow, asked: Asked, plan: Plan) -> Job:
    settings = plan.settings.to_json()
    content = _content(file, asked, plan)
    content |= {"settings": _that_matter(settings), "method": _source(plan.settings)}
    return Job(
        row=row.name,
        request=asked.request,
        seed=plan.settings.train.seed,
        model=file.model,
        settings=settings,
        method=row.method_name,
        recipe=row.recipe,
        judge=file.judge,
        retrained=asked.retrained,
        attack=file.attack_changes,
        threads=file.threads,
        digest=digest(content),
    )


def _content(file: BenchFile, asked: Asked, plan: Plan) -> dict[str, object]:
    """What every run of a request depends on, beside its settings."""
    retrained = None if asked.retrained is None else _weights(inspect_model(asked.retrained))
    return {
        "versions": {"efface": __version__, "evaluation": EVALUATION},
        "model": [_weights(plan.info), plan.info.null_label],
        "request": plan.request.model_dump(mode="json"),
        "material": [plan.material.recorded(), plan.material.compared_digest()],
        "judge": None if plan.classifier is None else plan.classifier.reported(),
        "retrained": retrained,
        "threads": file.threads,
    }


def _that_matter(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries(settings) if name not in INCIDENTAL}


def _source(settings: Settings) -> str:
    """SHA-256 of the file of a method, which may be of any package."""
    return hash_file(Path(inspect.getfile(type(settings.method))))


def _weights(info: ModelInfo) -> object:
    """Hashes of weights; of those that are not on this machine yet, where they come from."""
    if info.on_hub and missing_weights(info):
        return info.source
    return hash_weights(info.folder)


def _check_alike(job: Job, other: Job) -> None:
    """Raise ConfigError unless two jobs of one request are measured with the same settings."""
    own, theirs = (dict(entries(one.settings)) for one in (job, other))
    for name in sorted(job.request.measured - {"evaluate.seed"}):
        if own.get(name) != theirs.get(name):
            raise ConfigError(
                f"rows {other.row!r} and {job.row!r} would be measured with {name} "
                f"{theirs.get(name)!r} and {own.get(name)!r}: give it to all rows, in [evaluate] "
                "or in the first `set`."
            )


def _references(file: BenchFile, job: Job, plan: Plan) -> Iterator[Job]:
    """Models that are measured as they are, by the request and seed of a job."""
    paths = {UNTOUCHED: file.model}
    if job.retrained is not None:
        paths[RETRAINED] = job.retrained
    paths |= {row.name: row.path for row in file.reference}
    settings = {k: v for k, v in job.settings.items() if k not in (METHOD, TRAIN)}
    content = _content(file, Asked(request=job.request, retrained=job.retrained), plan)
    for name, path in paths.items():
        with named(name):
            own = {"settings": settings, "placed": _weights(inspect_model(path))}
        named_by = digest(content | own)
        yield replace(job, row=name, placed=path, value=None, attack=None, digest=named_by)
