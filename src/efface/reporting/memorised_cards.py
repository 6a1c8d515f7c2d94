"""The cards of a run that forgets a memorised picture."""

from __future__ import annotations

from efface.records import Result, RunRecord
from efface.reporting.cards import (
    FORGOTTEN_MARKS,
    KEPT_MARKS,
    Card,
    Mark,
    cost_card,
    resistance_card,
)
from efface.reporting.memorised_findings import MemorisedFindings, count_drawn
from efface.reporting.resistance import Resistance
from efface.reporting.wording import describe_interval, format_count, format_value, plural


def memorised_cards(
    record: RunRecord, findings: MemorisedFindings, resistance: Resistance
) -> tuple[Card, ...]:
    """Cards of a run that forgets a memorised picture."""
    return (
        _forgotten_card(findings),
        _kept_card(findings),
        resistance_card(resistance),
        cost_card(record),
    )


def _forgotten_card(findings: MemorisedFindings) -> Card:
    share, mark = findings.original, FORGOTTEN_MARKS[findings.forgotten]
    if share is None:
        return _empty("Forgotten", mark)
    before, after = (
        f"{format_count(count)} {plural(count, 'copy', 'copies')}" for count in count_drawn(share)
    )
    note = ""
    if findings.modified is not None:
        was, now = count_drawn(findings.modified)
        note = f"modified prompt: {format_count(now)}, before {format_count(was)}"
    meaning = f"among {format_count(share.samples)} pictures of the prompt"
    return _card(("Forgotten", after, meaning), share, (f"before: {before}", note), mark)


def _kept_card(findings: MemorisedFindings) -> Card:
    mark = KEPT_MARKS[findings.kept]
    shown, name, meaning = findings.quality, "CLIP-IQA", "how good other prompts' pictures look"
    if shown is None:
        shown, name, meaning = findings.fid, "FID", "distance of its pictures from real ones"
    if shown is None:
        return _empty("Kept", mark)
    value, before = _now_and_before(shown)
    beside = (f"before: {before}", _own_prompts(findings))
    return _card(("Kept", f"{name} {value}", meaning), shown, beside, mark)


def _own_prompts(findings: MemorisedFindings) -> str:
    """How good the pictures of both prompts look to a CLIP."""
    looked = {
        "its own prompt": findings.own_quality,
        "modified prompt": findings.modified_quality,
    }
    told = [
        "{}: {}, before {}".format(called, *_now_and_before(result))
        for called, result in looked.items()
        if result is not None
    ]
    return "; ".join(told)


def _now_and_before(result: Result) -> tuple[str, str]:
    now, before = (format_value(v, result.unit) for v in (result.value, result.baseline.value))
    return now, before


def _card(what: tuple[str, str, str], result: Result, beside: tuple[str, str], mark: Mark) -> Card:
    """`what` is title, value and meaning; `beside` the untouched model's value and a note."""
    (title, value, meaning), (before, note), (kind, words) = what, beside, mark
    return Card(
        title=title,
        value=value,
        meaning=meaning,
        interval=describe_interval(result.low, result.high, result.unit),
        before=before,
        note=note,
        kind=kind,
        words=words,
        source=result.metric,
    )


def _empty(title: str, mark: Mark) -> Card:
    kind, words = mark
    return Card(
        title=title, value="–", meaning="", interval="", before="", note="", kind=kind, words=words
    )
