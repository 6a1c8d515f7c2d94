"""What a run amounts to, in plain language: a pure function of its record and evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from efface.records import Attacks, Evaluation, RunRecord
from efface.reporting import class_sentences, image_sentences, memorised_sentences
from efface.reporting.attack_words import tell_resistance
from efface.reporting.cards import Card, class_cards, image_cards, passes_per_picture
from efface.reporting.class_findings import find_classes
from efface.reporting.image_findings import find_images
from efface.reporting.memorised_cards import memorised_cards
from efface.reporting.memorised_findings import find_memorised
from efface.reporting.resistance import Resistance, Resists, find_resistance
from efface.reporting.sentences import tell_cost
from efface.reporting.states import Forgotten, Kept, Outcome, judge_outcome


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Headline, lead, cards and sentences, and what they rest on in one word each."""

    headline: str
    lead: str
    cards: tuple[Card, ...]
    told: dict[str, str]  # Forget, Keep, Resist, Cost: a sentence or two each
    outcome: Outcome
    forgotten: Forgotten
    kept: Kept
    resists: Resists

    def to_json(self) -> dict[str, Any]:
        content = dataclasses.asdict(self)
        content["cards"] = list(content["cards"])
        return content


def judge_run(
    record: RunRecord,
    evaluation: Evaluation,
    names: Mapping[int, str] | None = None,
    attacks: Attacks | None = None,
) -> Verdict:
    """Judge a run; what was forgotten is only ever judged together with what happened to the rest.

    `names` are the names of labels, where they have any.
    """
    resistance = find_resistance(record, attacks)
    if record.request.get("kind") == "images":
        return _judge_images(record, evaluation, resistance)
    if record.request.get("kind") == "memorised":
        return _judge_memorised(record, evaluation, resistance)
    return _judge_classes(record, evaluation, names or {}, resistance)


def _judge_images(record: RunRecord, evaluation: Evaluation, resistance: Resistance) -> Verdict:
    findings = find_images(evaluation)
    subject = image_sentences.Subject(record, evaluation)
    return Verdict(
        headline=image_sentences.headline(record, findings, subject),
        lead=image_sentences.lead(record, findings, subject),
        cards=image_cards(record, findings, resistance),
        told=_tell(
            record,
            image_sentences.tell_forgotten(evaluation, findings, subject),
            image_sentences.tell_kept(findings),
            resistance,
        ),
        outcome=judge_outcome(record, findings.forgotten, findings.kept),
        forgotten=findings.forgotten,
        kept=findings.kept,
        resists=resistance.state,
    )


def _judge_memorised(record: RunRecord, evaluation: Evaluation, resistance: Resistance) -> Verdict:
    findings = find_memorised(evaluation)
    return Verdict(
        headline=memorised_sentences.headline(record, findings),
        lead=memorised_sentences.lead(record, findings),
        cards=memorised_cards(record, findings, resistance),
        told=_tell(
            record,
            memorised_sentences.tell_forgotten(evaluation, findings),
            memorised_sentences.tell_kept(findings),
            resistance,
        ),
        outcome=judge_outcome(record, findings.forgotten, findings.kept),
        forgotten=findings.forgotten,
        kept=findings.kept,
        resists=resistance.state,
    )


def _judge_classes(
    record: RunRecord, evaluation: Evaluation, names: Mapping[int, str], resistance: Resistance
) -> Verdict:
    findings = find_classes(record, evaluation)
    subject = class_sentences.Subject(record, names)
    return Verdict(
        headline=class_sentences.headline(record, findings, subject),
        lead=class_sentences.lead(record, evaluation, findings, subject),
        cards=class_cards(record, findings, resistance),
        told=_tell(
            record,
            class_sentences.tell_forgotten(evaluation, findings, subject),
            class_sentences.tell_kept(findings, subject),
            resistance,
        ),
        outcome=judge_outcome(record, findings.forgotten, findings.kept),
        forgotten=findings.forgotten,
        kept=findings.kept,
        resists=resistance.state,
    )


def _tell(record: RunRecord, forgotten: str, kept: str, resistance: Resistance) -> dict[str, str]:
    return {
        "Forget": forgotten,
        "Keep": kept,
        "Resist": tell_resistance(record, resistance),
        "Cost": tell_cost(record, passes_per_picture(record)),
    }
