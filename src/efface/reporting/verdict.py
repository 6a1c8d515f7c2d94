"""What a run amounts to, in plain language: a pure function of its record and evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from efface.records import Evaluation, RunRecord
from efface.reporting import class_sentences, image_sentences
from efface.reporting.cards import Card, class_cards, image_cards
from efface.reporting.class_findings import find_classes
from efface.reporting.image_findings import find_images
from efface.reporting.states import Forgotten, Kept, Outcome, judge_outcome


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Headline, lead and cards, and what they rest on in one word each."""

    headline: str
    lead: str
    cards: tuple[Card, ...]
    outcome: Outcome
    forgotten: Forgotten
    kept: Kept

    def to_json(self) -> dict[str, Any]:
        content = dataclasses.asdict(self)
        content["cards"] = list(content["cards"])
        return content


def judge_run(
    record: RunRecord, evaluation: Evaluation, names: Mapping[int, str] | None = None
) -> Verdict:
    """Judge a run; what was forgotten is only ever judged together with what happened to the rest.

    `names` are the names of labels, where they have any.
    """
    if record.request.get("kind") == "images":
        return _judge_images(record, evaluation)
    return _judge_classes(record, evaluation, names or {})


def _judge_images(record: RunRecord, evaluation: Evaluation) -> Verdict:
    findings = find_images(evaluation)
    subject = image_sentences.Subject(record, evaluation)
    return Verdict(
        headline=image_sentences.headline(record, findings, subject),
        lead=image_sentences.lead(record, findings, subject),
        cards=image_cards(record, findings),
        outcome=judge_outcome(record, findings.forgotten, findings.kept),
        forgotten=findings.forgotten,
        kept=findings.kept,
    )


def _judge_classes(record: RunRecord, evaluation: Evaluation, names: Mapping[int, str]) -> Verdict:
    findings = find_classes(record, evaluation)
    subject = class_sentences.Subject(record, names)
    return Verdict(
        headline=class_sentences.headline(record, findings, subject),
        lead=class_sentences.lead(record, evaluation, findings, subject),
        cards=class_cards(record, findings),
        outcome=judge_outcome(record, findings.forgotten, findings.kept),
        forgotten=findings.forgotten,
        kept=findings.kept,
    )
