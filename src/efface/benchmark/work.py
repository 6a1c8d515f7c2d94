"""One job from its beginning to its figures: what a process of the benchmark does."""

from __future__ import annotations

import contextlib
import resource
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from threadpoolctl import threadpool_limits

from efface.benchmark.checkout import checked_out
from efface.benchmark.rows import Job
from efface.diffusion.loading import load
from efface.diffusion.model_folder import fetch_weights, inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.weight_files import hash_weights
from efface.errors import DataError, EffaceError
from efface.evidence.model_card import CARD
from efface.records import Content, RunRecord, parse_record, write_json
from efface.runs.attack import attack
from efface.runs.evaluate import evaluate
from efface.runs.folder import new_record
from efface.runs.forget import forget
from efface.runs.lock import locked
from efface.runs.plan import make_plan

DONE = "job.json"  # in a run folder: all of a job was done
ATTACK = "relearning"
ALONE = threading.Lock()  # a process has one random state, so one job at a time
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # of Linux
PEAK = "VmHWM:"


class Done(Content):
    """`job.json`."""

    schema_version: Literal[1] = 1
    memory: int | None  # peak bytes of the process that trained; None where nothing was
    attack: tuple[str, ...] | None  # settings of the attack that was run
    commit: str | None  # of this package


def work(job: Job, runs: Path) -> str | None:
    """Carry out a job, or what is left of it, in its folder of `runs`; returns why it failed."""
    run = runs / job.folder
    if is_done(job, runs):
        return None
    try:
        with ALONE, _threads(job.threads):
            memory = _train(job, run) if job.placed is None else _place(job, run, job.placed)
            evaluate(run, judge=job.judge, retrained=job.retrained)
            if job.attack is not None:
                attack(
                    run,
                    [ATTACK],
                    judge=job.judge,
                    retrained=job.retrained,
                    changes=job.attack,
                )
            write_json(run / DONE, Done(memory=memory, attack=job.attack, commit=checked_out()))
    except EffaceError as error:
        return str(error)
    except torch.OutOfMemoryError:
        return "the GPU's memory ran out: lower train.batch_size or evaluate.batch_size."
    return None


def read_done(job: Job, runs: Path) -> Done | None:
    """What was noted at the end of a job; None before it."""
    try:
        content = (runs / job.folder / DONE).read_bytes()
        return parse_record(Done, content, DONE, "run again")
    except (OSError, DataError):
        return None


def is_done(job: Job, runs: Path) -> bool:
    """Whether nothing of a job is left to do."""
    done = read_done(job, runs)
    return done is not None and job.attack in (None, done.attack)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute in so many threads: sums are the same in every process then."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def _train(job: Job, run: Path) -> int:
    """Forget, or go on with it; returns the peak memory of training in bytes."""
    _forget_peak()
    forget(
        job.model,
        job.request,
        run,
        method=job.method,
        recipe=job.recipe,
        changes=job.changes,
        judge=job.judge,
        retrained=job.retrained,
        resume=True,
        measure=False,
    )
    return _peak()


def _place(job: Job, run: Path, model: str) -> None:
    """A run folder whose result is a model as it is, so that it is measured like any other."""
    plan = make_plan(
        job.model,
        job.request,
        method=job.method,
        recipe=job.recipe,
        changes=job.changes,
        judge=job.judge,
        retrained=job.retrained,
    )
    own = inspect_model(model, plan.info.null_label)
    for info in (plan.info, own):
        fetch_weights(info)
    with locked(run):
        if (run / "record.json").exists():
            return
        shutil.rmtree(run / "pipeline", ignore_errors=True)  # of a process that was killed
        beside = shutil.ignore_patterns("judge", CARD)
        shutil.copytree(own.folder, run / "pipeline", ignore=beside)
        record = new_record(
            plan.info,
            plan.request.model_dump(mode="json"),
            "none",  # of our methods made it
            job.settings,
            material=plan.material.recorded(),
        )
        sampler = default_sampler(own, load(own))
        write_json(run / "record.json", _finished(record, run, sampler.describe(), sampler.passes))


def _finished(record: RunRecord, run: Path, sampler: str, passes: int) -> RunRecord:
    """The record of a model that took no training."""
    return record.model_copy(
        update={
            "status": "finished",
            "finished": record.started,
            "sampler": {"text": sampler, "passes": passes},
            "output": hash_weights(run / "pipeline"),
        }
    )


def _forget_peak() -> None:
    """Measure the peak from here on, where the system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        RESET.write_text("5")


def _peak() -> int:
    """Most bytes that this process had at once: of the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(PEAK):
                return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
