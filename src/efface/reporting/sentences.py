"""Headline, lead and lines of a verdict, in sentences for every reader."""

from __future__ import annotations

from efface.evaluation.wording import (
    format_change,
    format_count,
    lower_first,
    plural,
    upper_first,
)
from efface.records import Evaluation, RunRecord
from efface.requests.states import Forgotten, Kept
from efface.requests.words import Judgement, Phrases, Words

METHODS = {
    "sfd": "SFD",
    "siss": "SISS",
    "siss_no_is": "SISS without importance sampling",
    "siss_bernoulli": "SISS with Bernoulli sampling",
    "naive_deletion": "naive deletion",
    "neggrad": "NegGrad",
    "erasediff_siss": "EraseDiff (as in SISS)",
    "retrack": "ReTrack",
    "posterior_subtraction": "posterior subtraction",
}
FORGOTTEN: dict[Forgotten, str] = {
    "gone": "{what} {are} gone: {evidence}.",
    "not_gone": "{what} {are} not gone: {evidence}.",
    "inconclusive": "Not enough evidence to tell whether {what} {are} gone: {evidence}.",
    "unchanged": "No effect: {evidence}.",
    "not_memorised": "Nothing to forget was found: {evidence}.",
    "unmeasured": "Not measured: whether {what} {are} gone.",
    "not_asked": "Nothing was to be forgotten.",
}
KEPT: dict[Kept, str] = {
    "kept": "No damage was found in {rest}.",
    "less_varied": "No damage was found in {rest}, but sample diversity is reduced.",
    "inconclusive": "Damage to {rest} cannot be ruled out.",
    "damaged": "Damage was found in {rest}.",
    "one_step": "What is worse in {rest} comes from sampling in one step, not from forgetting.",
    "unmeasured": "Damage to {rest} was not measured.",
}
BROKEN = "The model is broken: nearly everything that it generates is damaged."
SAME = "the model generates what it generated before"
SAME_IN_ONE_STEP = "in one step the original model generates the same"


def tell_headline(record: RunRecord, judgement: Judgement, phrases: Phrases) -> str:
    """Say in a sentence or two what happened."""
    headline = _headline(judgement, phrases)
    if record.status != "collapsed" or judgement.kept == "broken":
        return headline
    if "unmeasured" in (judgement.forgotten, judgement.kept):
        return "The model broke during training, and the run was stopped early."
    return f"The model broke during training. In its last good weights, {lower_first(headline)}"


def _headline(judgement: Judgement, phrases: Phrases) -> str:
    forgotten, kept = judgement.forgotten, judgement.kept
    if kept == "broken":
        return f"{BROKEN} But {SAME_IN_ONE_STEP}." if judgement.one_step else BROKEN
    if judgement.one_step:
        evidence = SAME_IN_ONE_STEP
    elif judgement.forget and not judgement.guarded:
        evidence = judgement.forget[0].clause
    else:
        evidence = SAME
    headline = upper_first(
        FORGOTTEN[forgotten].format(what=phrases.forgotten, are=phrases.are, evidence=evidence)
    )
    if forgotten in ("unchanged", "not_memorised") and kept not in ("damaged", "one_step"):
        return headline
    if forgotten == kept == "unmeasured":
        return headline
    return f"{headline} {KEPT[kept].format(rest=phrases.rest)}"


def tell_lead(
    record: RunRecord,
    evaluation: Evaluation,
    judgement: Judgement,
    words: Words,
    phrases: Phrases,
) -> str:
    """Say what was to be done, what was done, and what it was measured with."""
    said = [phrases.requested, describe_method(record), *_describe_state(record)]
    if judgement.forget or judgement.retain:
        said.append(words.measured_with(evaluation))
    elif record.model.get("source") is not None:
        said += ["Nothing was measured.", words.unmeasured]
        said.append("Measure this run with `efface evaluate`.")
    return " ".join(sentence for sentence in said if sentence)


def describe_method(record: RunRecord) -> str:
    """Name the method and its steps in a sentence."""
    method = record.settings.get("method")
    name = str(method.get("name")) if isinstance(method, dict) else "not recorded"
    name = METHODS.get(name, name)
    if record.steps is None:
        return f"The method is {name}."
    steps = f"{format_count(record.steps)} {plural(record.steps, 'step')}"
    return f"The method, {name}, took {steps}."


def _describe_state(record: RunRecord) -> list[str]:
    """Say that a run has not finished or why it stopped early, and what its guard reported."""
    said = []
    if record.status == "running":
        said.append("The run has not finished, so what follows is preliminary.")
    if record.note:
        who = "The guard that watches the samples" if record.status == "collapsed" else "The run"
        said.append(f"{who} reported: {record.note}")
    if record.stopped:
        said.append(record.stopped)
    return said


def tell_forgotten(evaluation: Evaluation, judgement: Judgement, phrases: Phrases) -> str:
    """Say what became of the forgotten thing."""
    if judgement.forgotten == "not_asked":
        return FORGOTTEN["not_asked"]
    said = [upper_first(f"{evidence.clause}.") for evidence in judgement.forget]
    if judgement.overshot:
        said.append(
            "That is beyond what was never seen, which is not better: it can mark "
            f"{phrases.them} as removed."
        )
    if judgement.forgotten == "unchanged":
        said.append(_tell_change(evaluation))
    return " ".join(filter(None, said)) or FORGOTTEN["unmeasured"].format(
        what=phrases.forgotten, are=phrases.are
    )


def tell_kept(judgement: Judgement, phrases: Phrases) -> str:
    """Say what became of the rest."""
    said = [upper_first(f"{evidence.clause}.") for evidence in judgement.retain]
    if judgement.kept == "one_step":
        said.append(KEPT["one_step"].format(rest=phrases.rest))
    return " ".join(said) or f"Not measured: {phrases.rest} may be damaged."


def _tell_change(evaluation: Evaluation) -> str:
    """How far the model is from the original one, where that was measured."""
    said = [
        f"{which} by {format_change(evaluation.change[key])}"
        for key, which in (("weights", "its weights changed"), ("samples", "its samples"))
        if key in evaluation.change
    ]
    return f"{upper_first(' and '.join(said))}." if said else ""
