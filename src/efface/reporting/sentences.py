"""Headline, lead and lines of a verdict, in sentences for every reader."""

import math
from dataclasses import replace

from efface.evaluation.wording import (
    describe_interval,
    format_change,
    format_count,
    format_difference,
    format_value,
    lower_first,
    plural,
    upper_first,
)
from efface.records import Evaluation, Result, RunRecord
from efface.reporting.attack_words import tell_resistance
from efface.reporting.findings import Findings, difference_of, is_unchanged, was_there
from efface.reporting.resistance import Resistance
from efface.requests.words import Phrases, Words

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
    what = phrases.forgotten
    if forgotten.decisive is None:
        return f"Whether {what} {phrases.are} forgotten was not measured."
    part = forgotten.decisive.result.spec.subject
    if part is not None:
        what, phrases = f"{part} (of {what})", replace(phrases, many=False)
    several = any(found.result.spec.subject for found in forgotten.found)
    evidence, are = describe_result(forgotten.decisive.result, phrases), phrases.are
    if not was_there(forgotten):
        return f"Nothing to forget was found{f' of {what}' if several else ''}: {evidence}."
    if is_unchanged(evaluation):
        return f"No effect{f' on {what}' if several else ''}: {evidence}. {UNCHANGED}"
    if forgotten.answer == "inconclusive":
        return f"Not enough evidence to tell whether {what} {are} forgotten: {evidence}."
    negation = "" if forgotten.answer == "yes" else " not"
    return upper_first(f"{what} {are}{negation} forgotten: {evidence}.")


def _headline_of_rest(retained: Findings, phrases: Phrases) -> str:
    rest = phrases.rest
    if retained.decisive is None:
        return f"Damage to {rest} was not measured."
    rest_is = f"{upper_first(rest)} {plural(phrases.rest_count, 'is', 'are')}"
    if retained.answer == "yes":
        return f"{rest_is} preserved."
    evidence = describe_result(retained.decisive.result, phrases)
    if retained.decisive.is_unlike:
        return (
            f"{rest_is} unlike those of the original model: {evidence}. Only real images can tell "
            "whether that is worse."
        )
    if retained.answer == "inconclusive":
        return f"Damage to {rest} cannot be ruled out: {evidence}."
    if retained.collapsed:
        return f"The model has collapsed: {evidence}."
    return f"{rest_is} damaged: {evidence}."


def describe_result(result: Result, phrases: Phrases, *details: str) -> str:
    """'it appeared in 0 of 500 samples (original model: 497)', or 'recall 70.0 % (...)'."""

    def write(value: float) -> str:
        if result.spec.event is None:
            return format_value(value, result.unit)
        return format_count(round(value * result.samples))

    own = f"{name_figure(result)} {write(result.value)}"
    if result.spec.event is not None:
        event = result.spec.event.format(it=phrases.it, them=phrases.them, was=phrases.was)
        own = f"{event} {write(result.value)} of {format_count(result.samples)} samples"
    models = {"original model": result.baseline, "retrained model": result.retrained}
    beside = [
        f"{name}: {write(value.value)}"
        for name, value in models.items()
        if value is not None and math.isfinite(value.value)
    ]
    return f"{own} ({'; '.join([*details, *beside])})"


def name_figure(result: Result) -> str:
    """A figure's label within a sentence: 'recall', 'CLIP score', 'Fréchet distance'."""
    label = result.spec.label
    keeps = label.startswith(NAMES) or label[:2].isupper()
    return label if keeps else lower_first(label)


def tell_lead(record: RunRecord, evaluation: Evaluation, words: Words, phrases: Phrases) -> str:
    """Say what was to be done, what was done, and what it was measured with."""
    said = [phrases.requested, describe_method(record), *_describe_state(record)]
    if any(result.spec.role != "context" for result in evaluation.results):
        said.append(words.measured_with(evaluation))
    elif record.model.get("source") is not None:
        said += ["Nothing was measured.", words.unmeasured]
        said.append("Measure this run with `efface evaluate`.")
    return " ".join(sentence for sentence in said if sentence)


def describe_method(record: RunRecord) -> str:
    """Name the method and its steps in a sentence."""
    if record.steps is None:
        return f"The method is {record.method}."
    steps = f"{format_count(record.steps)} {plural(record.steps, 'step')}"
    return f"The method, {record.method}, took {steps}."


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
    results = [finding.result for finding in findings.found]
    said = [_tell_figure(result, phrases.about(result.spec.subject)) for result in results]
    if is_unchanged(evaluation):
        moved = [
            f"{name} by {format_change(evaluation.change[name])}"
            for name in ("weights", "samples")
            if name in evaluation.change
        ]
        said.append(f"Change from the original model: {', '.join(moved)}.")
    return " ".join(said) or f"Not measured: whether {phrases.it} {phrases.are} forgotten."


def tell_retained(findings: Findings, phrases: Phrases) -> str:
    """Say what became of the rest: the figure that decides, and what the others say."""
    if findings.decisive is None:
        return f"Not measured: {phrases.rest} may be damaged."
    result = findings.decisive.result
    change = difference_of(result)
    difference = format_difference(change.value, change.low, change.high, result.unit)
    said = [_tell_figure(result, phrases, f"difference {difference}")]
    words = {"no": "Also worse", "inconclusive": "Undecided", "yes": "Within their margins"}
    for answer, title in words.items():
        others = [f for f in findings.found if f.answer == answer and f is not findings.decisive]
        if others:
            said.append(f"{title}: {', '.join(name_figure(f.result) for f in others)}.")
    return " ".join(said)


def _tell_figure(result: Result, phrases: Phrases, *details: str) -> str:
    interval = describe_interval(result.low, result.high, result.unit)
    return f"{upper_first(describe_result(result, phrases, interval, *details))}."
