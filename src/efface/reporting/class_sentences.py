"""The verdict on forgotten classes, a concept or none, in sentences for who is no engineer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from efface.records import Evaluation, Result, RunRecord, Value
from efface.reporting.class_findings import GONE, ClassFindings, find_one_step, judge_forgotten
from efface.reporting.group_words import find_detector
from efface.reporting.sentences import (
    describe_method,
    describe_state,
    tell_change,
    tell_collapse,
    tell_fid,
    upper_first,
)
from efface.reporting.states import Kept
from efface.reporting.wording import (
    count_word,
    format_count,
    format_share,
    format_value,
    join_words,
    number_word,
    plural,
    shorten,
)

COLLAPSE = "The model collapsed: it no longer draws what it is asked for."
SAME = "in one step the untouched model draws the same"
ONE_STEP = "What is worse comes from drawing in one step, not from forgetting."
MADE = {
    "distil": "The model now draws in one step",
    "train": "A new model was trained",
}


class Subject:
    """What the sentences are about: what was forgotten and the others, in words."""

    def __init__(self, record: RunRecord, names: Mapping[int, str]) -> None:
        self._names = names
        self.source = str(record.model.get("source"))
        self.labels = _labels(record.request.get("labels"))
        self.replacement = _labels(record.request.get("replacement"))
        concept = record.request.get("concept")
        self.concept = shorten(concept) if isinstance(concept, str) else None
        self.forgotten = self.describe(self.labels)
        if self.concept is not None:
            self.forgotten = f"the concept \u201c{self.concept}\u201d"
        self.count = 1 if self.concept is not None else len(self.labels)
        self.verb = plural(self.count, "is", "are")
        self.others = _others(record.model.get("classes"), len(self.labels))

    def describe(self, labels: list[int]) -> str:
        words = []
        for label in labels:
            name = self._names.get(label, str(label))
            words.append(str(label) if name == str(label) else f"{label} ({name})")
        return f"{plural(len(labels), 'class', 'classes')} {join_words(words)}"


def _labels(given: Any) -> list[int]:
    return [x for x in given if isinstance(x, int)] if isinstance(given, (list, tuple)) else []


def _others(classes: Any, forgotten: int) -> str:
    if not isinstance(classes, int) or classes <= forgotten:
        return "others"
    count = classes - forgotten
    return "other one" if count == 1 else f"other {number_word(count)}"


def headline(record: RunRecord, findings: ClassFindings, subject: Subject) -> str:
    """Say in a sentence or two what happened; a no-op and a collapse are called so."""
    if findings.forgotten == "not_asked":
        core = _plain_headline(record.request.get("kind"), findings.kept)
    elif findings.unlearning is None and findings.forgotten == "unchanged":
        core = f"A no-op, nothing was forgotten: {_as_it_was(findings)}."
    elif findings.unlearning is None:
        core = _unmeasured_headline(findings.kept, subject)
    else:
        core = _class_headline(findings.unlearning, findings, subject)
    return tell_collapse(record, findings.forgotten, findings.kept, core)


def _unmeasured_headline(kept: Kept, subject: Subject) -> str:
    unknown = f"whether {subject.forgotten} {subject.verb} gone"
    if kept == "collapsed":
        return COLLAPSE
    if kept == "unmeasured":
        return f"Not measured: it is not known {unknown}."
    return f"Not measured: {unknown}.{_rest(kept, subject.others)}"


def _class_headline(unlearning: Result, findings: ClassFindings, subject: Subject) -> str:
    what, verb, kept = subject.forgotten, subject.verb, findings.kept
    if kept == "collapsed":
        so_is = f"The model collapsed: {what} {verb} gone, but so is nearly everything else."
        if findings.one_step:
            return f"{COLLAPSE} But {SAME}."
        return so_is if findings.forgotten == "gone" else COLLAPSE
    if findings.forgotten == "unchanged":
        return _no_op_headline(unlearning, findings, subject)
    rest = _rest(kept, subject.others)
    if findings.forgotten == "not_gone":
        share = format_share(1 - unlearning.value)
        return f"{upper_first(what)} {verb} still drawn, in {share} of attempts.{rest}"
    if findings.forgotten == "unsettled":
        return f"Too few attempts to say that {what} {verb} gone.{rest}"
    drawn = "no longer drawn" if unlearning.value == 1 else "almost never drawn"
    end = f", but the {subject.others} were damaged." if kept == "damaged" else f".{rest}"
    return f"{upper_first(what)} {verb} {drawn}{end}"


def _no_op_headline(unlearning: Result, findings: ClassFindings, subject: Subject) -> str:
    if unlearning.baseline.value >= GONE:
        return f"A no-op: the untouched model did not draw {subject.forgotten} either."
    worse = findings.kept in ("damaged", "one_step")
    damage = _rest(findings.kept, subject.others) if worse else ""
    told = f"{subject.forgotten} {subject.verb} drawn about as often as before"
    if findings.one_step or judge_forgotten(unlearning) != "unchanged":
        told = _as_it_was(findings)
    return f"A no-op, nothing was forgotten: {told}.{damage}"


def _as_it_was(findings: ClassFindings) -> str:
    return SAME if findings.one_step else "the model is as it was"


def _rest(kept: Kept, others: str) -> str:
    return {
        "kept": f" No damage was found in the {others}.",
        "less_varied": f" The {others} are drawn as well, with less variety.",
        "damaged": f" The {others} were damaged.",
        "collapsed": " The rest collapsed.",
        "one_step": f" What is worse in the {others} comes from drawing in one step.",
        "unsettled": f" Whether the {others} were damaged is not settled.",
        "unmeasured": f" What happened to the {others} was not measured.",
    }[kept]


def _plain_headline(kind: Any, kept: Kept) -> str:
    made = MADE.get(str(kind), "The run is done")
    return {
        "kept": f"{made}, and no damage was found. Nothing was to be forgotten.",
        "less_varied": f"{made}, and it draws with less variety. Nothing was to be forgotten.",
        "damaged": f"{made}, but its pictures got worse. Nothing was to be forgotten.",
        "collapsed": COLLAPSE,
        "unsettled": f"{made}. Whether its pictures got worse is not settled.",
        "unmeasured": f"{made}. How well it draws was not measured.",
    }[kept]


def lead(
    record: RunRecord, evaluation: Evaluation, findings: ClassFindings, subject: Subject
) -> str:
    """Say what was asked, what was done, and who judged it."""
    said = [_asked(record, subject), describe_method(record), *describe_state(record)]
    if findings.unlearning is None and findings.retained is None:
        said.append(_how_to_measure(record))
    else:
        said.append(_judge_sentence(record, evaluation))
    return " ".join(sentence for sentence in said if sentence)


def tell_forgotten(evaluation: Evaluation, findings: ClassFindings, subject: Subject) -> str:
    """Say what became of what was to go."""
    if findings.forgotten == "not_asked":
        return "Nothing was to be forgotten."
    seen = [_saw_forgotten(findings, subject)]
    if findings.forgotten == "unchanged":
        seen.append(tell_change(evaluation))
    return " ".join(s for s in seen if s) or (
        f"Not measured: whether {subject.forgotten} {subject.verb} still drawn is not known."
    )


def tell_kept(findings: ClassFindings, subject: Subject) -> str:
    """Say what became of the rest."""
    seen = [_saw_rest(findings, subject), tell_fid(findings.fid)]
    if findings.kept == "one_step":
        seen.append(ONE_STEP)
    return " ".join(s for s in seen if s) or "Not measured: the rest may be damaged."


def _asked(record: RunRecord, subject: Subject) -> str:
    kind = record.request.get("kind")
    if kind == "class":
        instead = f"one of the {subject.others} at random"
        if subject.replacement:
            instead = subject.describe(subject.replacement)
        place = plural(len(subject.labels), "its", "their")
        return (
            f"The model {subject.source} was asked to forget {subject.forgotten} and to draw "
            f"{instead} in {place} place."
        )
    if kind == "concept":
        given = record.request.get("replacement")
        instead = f"\u201c{shorten(given)}\u201d" if isinstance(given, str) else "something else"
        return (
            f"The model {subject.source} was asked to forget {subject.forgotten} and to draw "
            f"{instead} in its place."
        )
    if kind == "distil":
        return f"The model {subject.source} was made to draw in one step, with nothing to forget."
    return "A model was trained from nothing, with nothing to forget."


def _saw_forgotten(findings: ClassFindings, subject: Subject) -> str:
    seen = findings.unlearning
    if seen is None:
        return ""
    drawn = round((1 - seen.value) * seen.samples)
    before = round((1 - seen.baseline.value) * seen.samples)
    what = plural(subject.count, "it", "what was asked for")
    did = f"drew {what} {count_word(drawn)}" if drawn else f"never drew {what}"
    untouched = f"did so {count_word(before)}" if before else "never did"
    one_step = _in_one_step(seen, findings)
    if one_step is not None:
        count = round((1 - one_step.value) * seen.samples)
        untouched += f", and in one step {count_word(count) if count else 'never'}"
    return (
        f"Asked {format_count(seen.samples)} times for {subject.forgotten}, it {did}; "
        f"the untouched model {untouched}."
    )


def _in_one_step(seen: Result, findings: ClassFindings) -> Value | None:
    """The untouched model's figure in one step, where a no-op is explained by it."""
    return find_one_step(seen) if findings.one_step else None


def _saw_rest(findings: ClassFindings, subject: Subject) -> str:
    seen = findings.retained
    if seen is None:
        return ""
    under = f" under the {subject.others}" if subject.labels else ""
    before = format_value(seen.baseline.value, seen.unit)
    one_step = _in_one_step(seen, findings)
    if one_step is not None:
        before += f", and {format_value(one_step.value, seen.unit)} of what it draws in one step"
    return (
        f"Of {format_count(seen.samples)} pictures asked for{under}, "
        f"{format_value(seen.value, seen.unit)} show what was asked for; of the untouched "
        f"model's, {before}."
    )


def _how_to_measure(record: RunRecord) -> str:
    if record.request.get("kind") == "train":
        return ""
    if record.model.get("classes") is None:
        return (
            "Nothing was measured, because no detector and no CLIP has looked at its pictures. "
            "Measure this run with `efface evaluate` and evaluate.detector or evaluate.clip."
        )
    return (
        "Nothing was measured, because no judge (a classifier that recognises the classes) has "
        "looked at its pictures. Make one with `efface judge`, then measure this run with "
        "`efface evaluate`."
    )


def _judge_sentence(record: RunRecord, evaluation: Evaluation) -> str:
    detector = find_detector(evaluation)
    if detector is not None:
        return f"A detector looked for it in what it draws: {shorten(detector)}."
    if record.request.get("kind") == "concept":
        return "A CLIP chose between the concept and its replacement for what it draws."
    accuracy = (evaluation.judge or {}).get("held_out_accuracy")
    if not isinstance(accuracy, (int, float)) or not math.isfinite(accuracy):
        return "A classifier judged what it draws."
    share = format_share(accuracy)
    return f"What it draws was judged by a classifier that is right on {share} of held-out images."
