"""Headline, lead and lines of a verdict, in sentences for every reader."""

from __future__ import annotations

import math

from efface.evaluation.wording import (
    format_change,
    format_count,
    format_difference,
    format_value,
    is_share,
    lower_first,
    plural,
    upper_first,
)
from efface.records import Evaluation, Result, RunRecord
from efface.reporting.attack_words import tell_resistance
from efface.reporting.findings import (
    Findings,
    difference_of,
    is_unchanged,
    was_there,
)
from efface.reporting.resistance import Resistance
from efface.requests.words import Phrases, Words

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
NAMES = ("Fréchet",)  # what keeps its capital within a sentence, beside abbreviations
UNCHANGED = "Sampled in the same way, the original model generates the same."
BROKEN = "The model is broken: its outputs are not finite numbers."


def tell_headline(
    evaluation: Evaluation,
    forgotten: Findings,
    retained: Findings,
    resistance: Resistance,
    phrases: Phrases,
    words: Words,
) -> str:
    """Say in three sentences whether it is gone, what became of the rest, and if it comes back."""
    if evaluation.broken:
        return BROKEN
    if not words.forgets:
        return _headline_of_rest(retained, phrases)
    said = [_headline_of_it(evaluation, forgotten, phrases), _headline_of_rest(retained, phrases)]
    if forgotten.answer == retained.answer == "not_measured":
        said.pop()
    return " ".join([*said, tell_resistance(resistance, short=True)])


def _headline_of_it(evaluation: Evaluation, forgotten: Findings, phrases: Phrases) -> str:
    what, are = phrases.forgotten, phrases.are
    if forgotten.decisive is None:
        return f"Whether {what} {are} forgotten was not measured."
    evidence = describe_result(forgotten.decisive.result, phrases)
    if not was_there(forgotten):
        return f"Nothing to forget was found: {evidence}."
    if is_unchanged(evaluation):
        return f"No effect: {evidence}. {UNCHANGED}"
    if forgotten.answer == "inconclusive":
        return f"Not enough evidence to tell whether {what} {are} forgotten: {evidence}."
    negation = "" if forgotten.answer == "yes" else " not"
    return upper_first(f"{what} {are}{negation} forgotten: {evidence}.")


def _headline_of_rest(retained: Findings, phrases: Phrases) -> str:
    rest = phrases.rest
    if retained.decisive is None:
        return f"Damage to {rest} was not measured."
    if retained.answer == "yes":
        return f"{upper_first(rest)} {plural(phrases.rest_count, 'is', 'are')} preserved."
    evidence = describe_result(retained.decisive.result, phrases)
    if retained.answer == "inconclusive":
        return f"Damage to {rest} cannot be ruled out: {evidence}."
    if retained.collapsed:
        return f"The model has collapsed: {evidence}."
    return f"{upper_first(rest)} {plural(phrases.rest_count, 'is', 'are')} damaged: {evidence}."


def describe_result(result: Result, phrases: Phrases) -> str:
    """'it appeared in 0 of 500 samples (original model: 497)', or 'recall 70.0 % (...)'."""
    others = "; ".join(f"{name}: {value}" for name, value in beside(result).items())
    return f"{_own(result, phrases)} ({others})"


def _own(result: Result, phrases: Phrases) -> str:
    if result.spec.event is not None:
        event = result.spec.event.format(it=phrases.it, them=phrases.them)
        return f"{event} {_count(result, result.value)} of {format_count(result.samples)} samples"
    return f"{name_figure(result)} {format_value(result.value, result.unit)}"


def name_figure(result: Result) -> str:
    """A figure's label within a sentence: 'recall', 'CLIP score', 'Fréchet distance'."""
    label = result.spec.label
    keeps = label.startswith(NAMES) or label[:2].isupper()
    return label if keeps else lower_first(label)


def beside(result: Result) -> dict[str, str]:
    """The same figure of the models that it is compared with, by their names."""
    models = {"original model": result.baseline, "retrained model": result.retrained}
    return {
        name: _count(result, value.value)
        if result.spec.event is not None
        else format_value(value.value, result.unit)
        for name, value in models.items()
        if value is not None and math.isfinite(value.value)
    }


def _count(result: Result, share: float) -> str:
    return format_count(round(share * result.samples))


def tell_lead(record: RunRecord, evaluation: Evaluation, words: Words, phrases: Phrases) -> str:
    """Say what was to be done, what was done, and what it was measured with."""
    said = [phrases.requested, describe_method(record), *_describe_state(record)]
    if any(result.spec.role != "context" for result in evaluation.results):
        said.append(words.measured_with(evaluation))
    elif record.model.get("source") is not None:
        said += ["Nothing was measured.", words.unmeasured]
        said.append("Measure this run with `efface evaluate`.")
    return " ".join(sentence for sentence in said if sentence)


def name_method(record: RunRecord) -> str:
    method = record.settings.get("method")
    name = str(method.get("name")) if isinstance(method, dict) else "not recorded"
    return METHODS.get(name, name)


def describe_method(record: RunRecord) -> str:
    """Name the method and its steps in a sentence."""
    name = name_method(record)
    if record.steps is None:
        return f"The method is {name}."
    steps = f"{format_count(record.steps)} {plural(record.steps, 'step')}"
    return f"The method, {name}, took {steps}."


def _describe_state(record: RunRecord) -> list[str]:
    """Say that a run has not finished or why it stopped early, and what its guard reported."""
    said = []
    if record.status == "running":
        said.append("The run has not finished, so what follows is preliminary.")
    if record.status == "collapsed":
        said.append("Training was stopped early, and the last good weights were kept.")
    if record.note:
        who = "The guard that watches the samples" if record.status == "collapsed" else "The run"
        said.append(f"{who} reported: {record.note}")
    if record.stopped:
        said.append(record.stopped)
    return said


def tell_forgotten(evaluation: Evaluation, findings: Findings, phrases: Phrases) -> str:
    """Say what became of the forgotten thing, figure by figure."""
    said = [upper_first(f"{describe_result(f.result, phrases)}.") for f in findings.found]
    if is_unchanged(evaluation):
        said.append(_tell_change(evaluation))
    return " ".join(filter(None, said)) or f"Not measured: whether {phrases.it} is forgotten."


def tell_retained(findings: Findings, phrases: Phrases) -> str:
    """Say what became of the rest: the figure that decides, and what the others say."""
    if findings.decisive is None:
        return f"Not measured: {phrases.rest} may be damaged."
    result = findings.decisive.result
    change = difference_of(result)
    difference = format_difference(change.value, change.low, change.high, result.unit)
    others = "; ".join(f"{name}: {value}" for name, value in beside(result).items())
    own = upper_first(_own(result, phrases))
    said = [f"{own} ({others}; difference {difference})."]
    return " ".join([*said, *_tell_others(findings)])


def _tell_others(findings: Findings) -> list[str]:
    """The other figures by name, by what they say."""
    words = {"no": "Also worse", "inconclusive": "Undecided", "yes": "Within their margins"}
    said = []
    for answer, title in words.items():
        others = [f for f in findings.found if f.answer == answer and f is not findings.decisive]
        if others:
            said.append(f"{title}: {', '.join(name_figure(f.result) for f in others)}.")
    return said


def _tell_change(evaluation: Evaluation) -> str:
    """How far the model is from the original one, where that was measured."""
    said = [
        f"{which} by {format_change(evaluation.change[key])}"
        for key, which in (("weights", "its weights changed"), ("samples", "its samples"))
        if key in evaluation.change
    ]
    return f"{upper_first(' and '.join(said))}." if said else ""


def bound_of_none(result: Result) -> float | None:
    """Of a share that counts events and is 0 here: up to which rate that many samples say."""
    if not is_share(result.unit) or round(result.value * result.samples) != 0:
        return None
    return result.high


def write_own(result: Result) -> tuple[str, str]:
    """A figure for a card, and what it is: ('0 of 500', 'samples show it') or ('70.0 %', ...)."""
    if result.spec.event is not None:
        count = f"{_count(result, result.value)} of {format_count(result.samples)}"
        return count, "samples show it"
    return format_value(result.value, result.unit), result.spec.label
