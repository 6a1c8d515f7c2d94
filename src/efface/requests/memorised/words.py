"""The verdict on a memorised picture in sentences: for a reader who is no engineer."""

from __future__ import annotations

from typing import Any

from efface.records import Evaluation, Result, RunRecord
from efface.reporting.memorised_findings import MemorisedFindings, count_drawn
from efface.reporting.sentences import (
    describe_method,
    describe_state,
    tell_change,
    tell_collapse,
    tell_fid,
    upper_first,
)
from efface.reporting.states import Kept
from efface.reporting.wording import format_count, format_number, format_share, plural, shorten

REST: dict[Kept, str] = {
    "kept": " No damage was found in what other prompts draw.",
    "less_varied": " What other prompts draw is as good, with less variety.",
    "damaged": " The model draws worse than before.",
    "collapsed": " The rest collapsed.",
    "unsettled": " Whether it draws worse than before is not settled.",
    "unmeasured": " How well it draws other things was not measured.",
}
WAYS = {
    "as it is": "the prompt itself already did so",
    "given": "that prompt was given",
    "tokens": "it was found by changing words",
    "embedding": "it was found by descent on the prompt's embedding, and no prompt has that text",
}


def headline(record: RunRecord, findings: MemorisedFindings) -> str:
    """Say in a sentence or two what happened; a no-op and a collapse are called so."""
    return tell_collapse(record, findings.forgotten, findings.kept, _headline(findings))


def _headline(findings: MemorisedFindings) -> str:
    if findings.kept == "collapsed":
        gone = "the picture is gone, but so is" if findings.forgotten == "gone" else "it lost"
        return f"The model collapsed: {gone} nearly everything else."
    if findings.original is None:
        unchanged = "A no-op, nothing was forgotten: the model is as it was."
        unknown = "Not measured: it is not known whether the picture is gone."
        return unchanged if findings.forgotten == "unchanged" else unknown
    drawn = _drawn(findings.original)
    match findings.forgotten:
        case "gone" if findings.kept == "damaged":
            return "The picture is gone, but the model draws worse than before."
        case "gone":
            told = f"The memorised picture is gone: {drawn}."
        case "not_gone":
            told = f"The memorised picture is not gone: {drawn}."
        case "unsettled":
            told = f"Too few pictures to say that the memorised one is gone: {drawn}."
        case "unchanged":
            return f"A no-op, nothing was forgotten: {drawn}."
        case _:
            return f"Nothing to forget could be measured: {drawn}."
    return told + REST[findings.kept]


def _drawn(share: Result) -> str:
    before, after = count_drawn(share)
    now = format_count(after) if after else "none"
    was = format_count(before) if before else "none"
    return (
        f"of {format_count(share.samples)} {plural(share.samples, 'picture')} asked for by its "
        f"prompt {now} {plural(after, 'is a copy', 'are copies')}; of the untouched model's, "
        f"{was} {plural(before, 'was', 'were')}"
    )


def lead(record: RunRecord, findings: MemorisedFindings) -> str:
    """Say what was asked, how the prompt was loosened, and what was done."""
    said = [
        f"The model {record.model.get('source')} was asked to forget the picture that it had "
        f"memorised for {shorten(str(record.request.get('prompt')))}.",
        *_describe_modified(record),
        describe_method(record),
        *describe_state(record),
    ]
    if findings.original is None:
        said.append("Nothing was measured. Measure this run with `efface evaluate`.")
    return " ".join(said)


def _describe_modified(record: RunRecord) -> list[str]:
    """What the pictures to learn from were drawn by, as far as that is recorded."""
    notes: dict[str, Any] = record.notes
    share, copies, others = (notes.get(key) for key in ("modified_share", "copies", "others"))
    if not (isinstance(share, float) and isinstance(copies, int) and isinstance(others, int)):
        return []
    said = [
        f"It learned from {format_count(copies)} copies and {format_count(others)} other pictures, "
        "which it drew itself for a prompt that gives the picture only sometimes"
    ]
    if notes.get("modified_by") in ("given", "tokens"):
        said.append(f", {shorten(str(notes.get('modified_prompt')))}")
    way = WAYS.get(str(notes.get("modified_by")))
    said.append(f" ({format_share(share)} of trial pictures{f'; {way}' if way else ''}).")
    return ["".join(said)]


def tell_forgotten(evaluation: Evaluation, findings: MemorisedFindings) -> str:
    """Say what became of the picture."""
    if findings.original is None:
        change = tell_change(evaluation) if findings.forgotten == "unchanged" else ""
        return change or "Not measured: whether the picture is still drawn is not known."
    said = [f"{upper_first(_drawn(findings.original))}."]
    if findings.modified is not None:
        before, after = count_drawn(findings.modified)
        said.append(
            f"Under the modified prompt {format_count(after) if after else 'none'} of "
            f"{format_count(findings.modified.samples)} {plural(after, 'is', 'are')}, before "
            f"{format_count(before) if before else 'none'}."
        )
    for name, found in (
        ("Likeness to the picture (1 is the same) is", findings.likeness),
        ("How hard the prompt pulls at pure noise (large for memorised ones) is", findings.norm),
    ):
        if found is not None:
            now, was = format_number(found.value), format_number(found.baseline.value)
            said.append(f"{name} {now} on average; the untouched model's, {was}.")
    if findings.forgotten == "unchanged":
        said.append(tell_change(evaluation))
    return " ".join(s for s in said if s)


def tell_kept(findings: MemorisedFindings) -> str:
    """Say what became of the rest."""
    said = []
    for whose, looked in (
        ("other prompts", findings.quality),
        ("the prompt itself", findings.own_quality),
        ("the modified prompt", findings.modified_quality),
    ):
        if looked is not None:
            now, before = format_number(looked.value), format_number(looked.baseline.value)
            said.append(
                f"The quality that a CLIP sees in pictures of {whose} (CLIP-IQA, 0 to 1) is "
                f"{now}; the untouched model's, {before}."
            )
    said.append(tell_fid(findings.fid))
    if findings.quality is None and findings.fid is None:
        said.append("Not measured: the rest may be damaged.")
    return " ".join(s for s in said if s)


def limits(findings: MemorisedFindings) -> list[str]:
    """What such a report does not claim."""
    said = [
        "That neither prompt draws the picture is no proof that its influence is gone from the "
        "weights: other wordings, another sampler or further training may bring it back.",
        "A copy is a picture whose likeness to the memorised one exceeds a set threshold; a looser "
        "likeness does not count.",
        "The model learned from pictures that it drew itself: what it draws badly was taught once "
        "more.",
    ]
    if findings.original is not None and count_drawn(findings.original)[1] == 0:
        samples = findings.original.samples
        bound = format_share(min(1.0, 3 / samples))
        said.append(
            f"None among {format_count(samples)} pictures leaves room for a rate of up to about "
            f"{bound} (3 in {format_count(samples)})."
        )
    return said
