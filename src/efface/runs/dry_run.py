"""What a run would do, without a trace: nothing is written and nothing is fetched."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from accelerate import Accelerator

from efface.data.randomness import random_state_kept
from efface.diffusion.model_folder import missing_weights
from efface.errors import EffaceError
from efface.evaluation.wording import format_count, format_duration
from efface.memory.estimate import estimate, readable
from efface.memory.preflight import available_memory
from efface.runs.forget import begin_record, carry_out
from efface.runs.plan import Plan
from efface.settings.base import Settings

STEPS, SECONDS = 20, 5.0  # at most, that are tried; the first step is not timed


class _Tried(EffaceError):  # noqa: N818
    """Enough steps were made."""


def dry_run(plan: Plan, out: str | Path, measure: bool = True) -> dict[str, str]:
    """What `efface.forget` would do by a plan, in rows of a table.

    The time is that of a few steps made here, in a folder that is gone afterwards.
    """
    return {
        "forget": plan.request.describe(),
        "model": f"{plan.info.source} ({plan.info.network_class})",
        "method": plan.settings.method.title,
        "training": f"{_describe_steps(plan.settings)}, {_describe_time(plan)}",
        "evaluation": _describe_evaluation(plan) if measure else "none",
        "memory": _describe_memory(plan, measure),
        "would write": str(out),
    }


def _describe_steps(settings: Settings) -> str:
    if not settings.method.phases:
        return "none, weights are edited in closed form"
    return f"{format_count(settings.train.steps)} steps of {settings.train.batch_size} samples"


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
    times = ends if len(ends) > 1 else [began, time.monotonic()]  # of a single step, with loading
    return statistics.median(b - a for a, b in itertools.pairwise(times))


def _describe_evaluation(plan: Plan) -> str:
    """How many samples of each model are measured, and by which classifier."""
    evaluate, kind = plan.settings.evaluate, plan.request
    if "evaluate.retain_samples" in kind.measured:
        count = evaluate.retain_samples + (evaluate.forget_samples if kind.forgets else 0)
        samples = f"{format_count(count)} samples of each model"
    else:
        samples = f"samples and losses as set in [{kind.section}]"
    judge = "" if plan.classifier is None else f", evaluated by {plan.classifier.config['name']}"
    return f"{samples}{judge}"


def _describe_memory(plan: Plan, measure: bool) -> str:
    accelerator = Accelerator()
    device, processes = accelerator.device, accelerator.num_processes
    amounts = plan.material.amounts(plan.settings)
    peak = estimate(plan.info, plan.settings, amounts, device.type, processes).peak(measure)
    free = readable(available_memory(device, processes))
    return f"{readable(peak)} at most by estimate; {free} are free on {device}"
