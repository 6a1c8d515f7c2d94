"""What the sentences about every kind of run have in common."""

from __future__ import annotations

from efface.records import Evaluation, Result, RunRecord
from efface.reporting.states import Forgotten, Kept
from efface.reporting.wording import (
    describe_hardware,
    format_change,
    format_count,
    format_duration,
    format_number,
    plural,
)

METHODS = {
    "sfd": "SFD",
    "siss": "SISS",
    "siss_no_is": "SISS without importance sampling",
    "siss_bernoulli": "SISS by coin toss (Bernoulli)",
    "naive_deletion": "naive deletion",
    "neggrad": "NegGrad",
    "erasediff": "EraseDiff",
    "relabel": "relabelling",
    "posterior_subtraction": "posterior subtraction",
}


def describe_method(record: RunRecord) -> str:
    """Name the method and its steps in a sentence."""
    method = record.settings.get("method")
    name = str(method.get("name")) if isinstance(method, dict) else "not recorded"
    name = METHODS.get(name, name)
    if record.steps is None:
        return f"The method is {name}."
    steps = f"{format_count(record.steps)} {plural(record.steps, 'step')}"
    return f"The method, {name}, took {steps}."


def describe_state(record: RunRecord) -> list[str]:
    """Say that a run has not finished or why it stopped early, and what its guard reported."""
    said = []
    if record.status == "running":
        said.append("The run has not finished, so what follows is preliminary.")
    if record.note and record.status == "collapsed":
        said.append(f"The guard that watches for collapse reported: {record.note}")
    elif record.note:
        said.append(f"Its note: {record.note}")
    if record.stopped:
        said.append(record.stopped)
    return said


def tell_change(evaluation: Evaluation) -> str:
    """How far the model is from the untouched one, where that was measured."""
    said = [
        f"{which} by {format_change(evaluation.change[key])}"
        for key, which in (("weights", "its weights changed"), ("samples", "its samples"))
        if key in evaluation.change
    ]
    return f"{upper_first(' and '.join(said))}." if said else ""


def tell_fid(fid: Result | None) -> str:
    if fid is None:
        return ""
    now, before = format_number(fid.value), format_number(fid.baseline.value)
    return (
        "The distance of its pictures from real ones (FID, lower is better) is "
        f"{now}; the untouched model's, {before}."
    )


def tell_cost(record: RunRecord, passes: tuple[int | None, int | None]) -> str:
    """Time, machine, steps, and network passes per picture before and after."""
    took = "How long training took is not recorded"
    if record.seconds is not None:
        took = f"Training took {format_duration(record.seconds)}"
    took += f" ({describe_hardware(record.hardware)})."
    before, after = passes
    if after is None:
        return took
    now = f"{format_count(after)} network {plural(after, 'pass', 'passes')}"
    if before is None:
        return f"{took} A picture takes {now}."
    same = (
        ", as before"
        if before == after
        else f"; with the untouched model it took {format_count(before)}"
    )
    return f"{took} A picture takes {now}{same}."


def tell_collapse(record: RunRecord, forgotten: Forgotten, kept: Kept, headline: str) -> str:
    """Put before the headline that the guard stopped the run, where it did."""
    if record.status != "collapsed" or kept == "collapsed":
        return headline
    if "unmeasured" in (forgotten, kept):
        return "The run collapsed and was stopped early."
    return f"The run collapsed. In its last good weights, {lower_first(headline)}"


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
