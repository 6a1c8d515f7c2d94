"""The verdict on forgotten pictures in sentences: for a reader who is no engineer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from efface.records import Evaluation, Result, RunRecord
from efface.reporting.image_findings import NEVER_SEEN, ImageFindings, count_copies
from efface.reporting.sentences import (
    describe_method,
    describe_state,
    tell_change,
    tell_collapse,
    upper_first,
)
from efface.reporting.states import Forgotten, Kept
from efface.reporting.wording import (
    format_count,
    format_number,
    format_share,
    number_word,
    plural,
)

LEVEL = 5e-4  # a gap that would be written as 0 percent
REST: dict[Kept, str] = {
    "kept": " No damage was found in what else it draws.",
    "less_varied": " What else it draws is as good, with less variety.",
    "damaged": " The model draws worse than before.",
    "collapsed": " The rest collapsed.",
    "unsettled": " Whether it draws worse than before is not settled.",
    "unmeasured": " How well it draws was not measured.",
}


class Subject:
    """What the sentences are about: the forgotten pictures, in words."""

    def __init__(self, record: RunRecord, evaluation: Evaluation) -> None:
        self.source = str(record.model.get("source"))
        self.count = count_pictures(record, evaluation)
        one = self.count == 1
        number = f"{number_word(self.count)} " if self.count > 1 else ""
        self.what = "the picture" if one else f"the {number}pictures"
        self.asked = "one picture" if one else f"{number or 'particular '}pictures"
        self.verb = "is" if one else "are"
        self.them = "it" if one else "them"
        self.any_of_them = "it" if one else "any of them"
        self.one_of_them = "it" if one else "one of them"


def count_pictures(record: RunRecord, evaluation: Evaluation) -> int:
    """How many pictures were to be forgotten; 0 where that is not recorded."""
    given: Any = record.request.get("hashes") or record.request.get("names")
    return len(given) if isinstance(given, (list, tuple)) else len(evaluation.pictures)


def headline(record: RunRecord, findings: ImageFindings, subject: Subject) -> str:
    """Say in a sentence or two what happened; a no-op and a collapse are called so."""
    core = _headline(findings, subject)
    return tell_collapse(record, findings.forgotten, findings.kept, core)


def _headline(findings: ImageFindings, subject: Subject) -> str:
    gone, kept = f"{subject.what} {subject.verb} gone", findings.kept
    if kept == "collapsed":
        if findings.forgotten == "gone":
            return f"The model collapsed: {gone}, but so is nearly everything else."
        return "The model collapsed: it no longer draws pictures like those it learned from."
    tell = TELL.get(findings.forgotten)
    if tell is None:
        if kept == "unmeasured":
            return f"Not measured: it is not known whether {gone}."
        return f"Not measured: whether {gone}.{REST[kept]}"
    if kept == "damaged" and findings.forgotten == "gone":
        return f"{upper_first(gone)}, but the model draws worse than before."
    untouched = findings.forgotten in ("unchanged", "not_memorised") and kept != "damaged"
    return tell(findings, subject) + ("" if untouched else REST[kept])


def _gone(findings: ImageFindings, subject: Subject) -> str:
    assert findings.copies is not None and findings.gap is not None  # what is gone was measured
    copies = f"none of {format_count(findings.copies.samples)} samples copies {subject.any_of_them}"
    known = _describe_known(findings.gap, findings.overshot, subject.them)
    return f"{upper_first(subject.what)} {subject.verb} gone: {copies}, and {known}."


def _describe_known(gap: Result, overshot: bool, what: str) -> str:
    """How well the model knows what it knows no better than pictures never seen."""
    if overshot:
        return f"the model was pushed to do worse on {what} than on pictures never seen"
    if gap.value < -NEVER_SEEN:
        return f"the model knows {what} no better than pictures it has never seen"
    return f"the model treats {what} like pictures it has never seen"


def _not_gone(findings: ImageFindings, subject: Subject) -> str:
    start = f"{upper_first(subject.what)} {subject.verb} not gone:"
    before, after = (0, 0) if findings.copies is None else count_copies(findings.copies)
    if findings.copies is not None and after:
        copy, still = plural(after, "copies", "copy"), "still " if before else ""
        samples = format_count(findings.copies.samples)
        made = f"of the untouched model's, {format_count(before) if before else 'none'} did"
        return (
            f"{start} {format_count(after)} of {samples} samples {still}{copy} "
            f"{subject.one_of_them}; {made}."
        )
    known = f"the model still knows {subject.them} better than pictures it has never seen"
    if before:
        return f"{start} no sample copies {subject.any_of_them}, but {known}."
    return f"{start} {known}."


def _unsettled(findings: ImageFindings, subject: Subject) -> str:
    what, verb = subject.what, subject.verb
    if findings.gap is None:
        unknown = f"Whether it still knows {subject.them} was not measured."
        if findings.copies is not None and findings.copies.high < findings.copies.baseline.low:
            return f"The model no longer copies {what}. {unknown}"
    if findings.copies is None:
        assert findings.gap is not None  # or nothing was measured
        known = _describe_known(findings.gap, findings.overshot, what)
        return f"{upper_first(known)}. Whether it still draws copies was not measured."
    before, _ = count_copies(findings.copies)
    made = f"{'only ' if before <= 10 else ''}{format_count(before)}"
    return (
        f"Too few samples to say that {what} {verb} gone: none of "
        f"{format_count(findings.copies.samples)} copies {subject.any_of_them}, but of the "
        f"untouched model's {made} did."
    )


def _no_op(findings: ImageFindings, subject: Subject) -> str:
    start = "A no-op, nothing was forgotten:"
    if findings.copies is not None and any(count_copies(findings.copies)):
        return f"{start} {subject.what} {subject.verb} copied about as often as before."
    if findings.gap is None:
        return f"{start} the model is as it was."
    return f"{start} the model knows {subject.what} about as well as before."


def _not_memorised(findings: ImageFindings, subject: Subject) -> str:
    what, them = subject.what, subject.them
    known = f"know{{}} {them if findings.copies else what} better than pictures it has never seen"
    start = "Nothing to forget could be measured: the untouched model"
    if findings.copies is None:
        return f"{start} does not {known.format('')}."
    if findings.gap is None:
        return f"{start} did not copy {what} either."
    return f"{start} neither copies {what} nor {known.format('s')}."


TELL: dict[Forgotten, Callable[[ImageFindings, Subject], str]] = {
    "gone": _gone,
    "not_gone": _not_gone,
    "unsettled": _unsettled,
    "unchanged": _no_op,
    "not_memorised": _not_memorised,
}


def lead(record: RunRecord, findings: ImageFindings, subject: Subject) -> str:
    """Say what was asked and what was done."""
    said = [
        f"The model {subject.source} was asked to forget {subject.asked}.",
        describe_method(record),
        *describe_state(record),
    ]
    if findings.copies is None and findings.gap is None and findings.kept == "unmeasured":
        said.append("Nothing was measured. Measure this run with `efface evaluate`.")
    return " ".join(said)


def tell_forgotten(evaluation: Evaluation, findings: ImageFindings, subject: Subject) -> str:
    """Say what became of the pictures to forget."""
    seen = [_saw_copies(findings.copies, subject), *_saw_gap(findings, subject)]
    if findings.forgotten == "unchanged":
        seen.append(tell_change(evaluation))
    return " ".join(s for s in seen if s) or (
        f"Not measured: whether {subject.what} {subject.verb} still copied is not known."
    )


def tell_kept(findings: ImageFindings) -> str:
    """Say what became of the rest."""
    return _saw_quality(findings) or "Not measured: the rest may be damaged."


def _saw_copies(copies: Result | None, subject: Subject) -> str:
    if copies is None:
        return ""
    before, after = count_copies(copies)
    copy = f"copies {subject.any_of_them}"
    if after:
        copy = f"{plural(after, 'copies', 'copy')} {subject.one_of_them}"
    said = (
        f"Of {format_count(copies.samples)} samples, {_count(after)} {copy}; "
        f"of the untouched model's, {_count(before)} did"
    )
    if copies.retrained is not None and math.isfinite(copies.retrained.value):
        retrained = _count(round(copies.retrained.value * copies.samples))
        said += f", and of those of a model trained without {subject.them}, {retrained}"
    return f"{said}."


def _count(count: int) -> str:
    return format_count(count) if count else "none"


def _saw_gap(findings: ImageFindings, subject: Subject) -> list[str]:
    gap = findings.gap
    if gap is None:
        return []
    error = (
        f"When noise is put on {subject.what} for the model to take off, its error is "
        f"{_describe_gap(gap.value)} its error on pictures it has never seen; the untouched "
        f"model's was {_describe_gap(gap.baseline.value)}"
    )
    if gap.retrained is not None and math.isfinite(gap.retrained.value):
        error += (
            f", and that of a model trained without {subject.them} is "
            f"{_describe_gap(gap.retrained.value)}"
        )
    said = [f"{error}."]
    if findings.overshot:
        said.append(
            "That is pushed beyond never seen, which is not better: "
            f"it can mark {subject.what} as removed."
        )
    return said


def _describe_gap(gap: float) -> str:
    if abs(gap) < LEVEL:
        return "level with"
    return f"{format_share(abs(gap))} {'below' if gap > 0 else 'above'}"


def _saw_quality(findings: ImageFindings) -> str:
    said = [
        f"{name} is {format_number(found.value)}, the untouched model's "
        f"{format_number(found.baseline.value)}"
        for name, found in (
            ("the distance of its samples from real pictures (FID)", findings.fid),
            ("its inception score", findings.inception),
        )
        if found is not None
    ]
    return f"{upper_first('; '.join(said))}." if said else ""
