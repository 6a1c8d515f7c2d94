"""What a run would do, without a trace: nothing is written and nothing is fetched."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from accelerate import Accelerator

from efface.data.randomness import random_state_kept
from efface.diffusion.model_folder import missing_weights
from efface.errors import EffaceError
from efface.evaluation.wording import format_count, format_duration
from efface.memory.estimate import estimate, readable
from efface.memory.preflight import available_memory
from efface.requests.base import Request
from efface.runs.forget import begin_record, carry_out
from efface.runs.place import holds_run
from efface.runs.plan import Plan, make_plan

STEPS, SECONDS = 20, 5.0  # at most, that are tried; the first step is not timed


class _Tried(EffaceError):  # noqa: N818
    """Enough steps were made."""


def dry_run(
    model: str | Path,
    request: Request,
    out: str | Path,
    *,
    method: str | None = None,
    result: str | None = None,
    recipe: str | Path | None = None,
    changes: Iterable[str] = (),
    start: str | Path | None = None,
    judge: str | Path | None = None,
    retrained: str | Path | None = None,
    null_label: int | None = None,
    size: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    measure: bool = True,
) -> dict[str, str]:
    """What `efface.forget` would do with the same arguments, in rows of a table.

    The time is that of a few steps made here, in a folder that is gone afterwards. Raises the
    errors of `efface.forget`.
    """
    plan = make_plan(
        model,
        request,
        method=method,
        result=result,
        recipe=recipe,
        changes=changes,
        start=start,
        judge=judge,
        retrained=retrained,
        null_label=null_label,
        size=size,
        measure=measure,
    )
    holds_run(Path(out), resume, overwrite, [model, judge, retrained, recipe, *plan.sources])
    train = plan.settings.train
    count = format_count(train.steps)
    return {
        "forget": plan.request.describe(),
        "model": f"{plan.info.source} ({plan.info.network_class})",
        "method": plan.settings.method.title,
        "training": f"{count} steps of {train.batch_size} samples, {_describe_time(plan)}",
        "evaluation": _describe_evaluation(plan) if measure else "none",
        "memory": _describe_memory(plan, measure),
        "would write": str(out),
    }


def _describe_time(plan: Plan) -> str:
    if plan.info.on_hub and missing_weights(plan.info):
        return "time not estimated: the weights are not on this machine yet"
    seconds = _seconds_per_step(plan)
    return f"about {format_duration(seconds * plan.settings.train.steps)}"


def _seconds_per_step(plan: Plan) -> float:
    """The median of a few steps."""
    ends: list[float] = []

    def on_step(step: int) -> None:
        ends.append(time.monotonic())
        if step == STEPS or (len(ends) > 2 and ends[-1] - ends[0] > SECONDS):
            raise _Tried

    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        random_state_kept(),
        contextlib.suppress(_Tried),
    ):
        carry_out(plan, begin_record(plan), Path(folder) / "run", False, on_step)
    return statistics.median(
        b - a for a, b in itertools.pairwise(ends or [began, time.monotonic()])
    )


def _describe_evaluation(plan: Plan) -> str:
    """How many samples of each model are measured, and by which classifier."""
    evaluate, kind = plan.settings.evaluate, plan.request
    if "evaluate.retain_samples" in kind.measured:
        count = evaluate.retain_samples + (evaluate.forget_samples if kind.forgets else 0)
        samples = f"{format_count(count)} samples of each model"
    else:
        samples = f"samples and losses as [{kind.section}] says"
    judge = "" if plan.classifier is None else f", judged by {plan.classifier.config['name']}"
    return f"{samples}{judge}"


def _describe_memory(plan: Plan, measure: bool) -> str:
    accelerator = Accelerator()
    device, processes = accelerator.device, accelerator.num_processes
    amounts = plan.material.amounts(plan.settings)
    peak = estimate(plan.info, plan.settings, amounts, device.type, processes).peak(measure)
    free = readable(available_memory(device, processes))
    return f"{readable(peak)} at most by estimate; {free} are free on {device}"
