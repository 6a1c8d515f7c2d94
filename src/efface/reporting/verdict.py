"""What a run amounts to, in plain language: a pure function of its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from efface.records import Attacks, Evaluation, RunRecord
from efface.reporting.attack_words import tell_resistance
from efface.reporting.cards import Card, forgotten_card, kept_card, resistance_card
from efface.reporting.caveats import caveats
from efface.reporting.cost import cost_card, tell_cost
from efface.reporting.resistance import Resistance, find_resistance
from efface.reporting.sentences import tell_forgotten, tell_headline, tell_kept, tell_lead
from efface.requests import words_of
from efface.requests.states import Forgotten, Kept

Outcome = Literal[
    "forgotten", "damaged", "not_forgotten", "no_effect", "not_memorised", "broken", "inconclusive",
    "unmeasured", "nothing_to_forget",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Headline, lead, cards and sentences, and what they rest on in one word each."""

    headline: str
    lead: str
    cards: tuple[Card, ...]
    told: dict[str, str]  # Forget, Retain, Resist, Cost: a sentence or two each
    outcome: Outcome
    forgotten: Forgotten
    kept: Kept
    resistance: Resistance
    caveats: list[str]


def judge_run(
    record: RunRecord,
    evaluation: Evaluation,
    names: Mapping[int, str] | None = None,
    attacks: Attacks | None = None,
) -> Verdict:
    """Judge a run; what was forgotten is only ever judged together with what happened to the rest.

    `names` are the names of labels, where they have any. DataError for a request of another
    version or package.
    """
    words = words_of(record.request)
    phrases = words.phrases(record, names or {})
    judgement = words.judge(record, evaluation, phrases)
    resistance = find_resistance(record, attacks, words.forgets)
    cards = (
        forgotten_card(judgement),
        kept_card(judgement),
        resistance_card(resistance),
        cost_card(record),
    )
    return Verdict(
        headline=tell_headline(record, judgement, phrases),
        lead=tell_lead(record, evaluation, judgement, words, phrases),
        cards=cards if words.forgets else (cards[1], cards[3]),
        told={
            "Forget": tell_forgotten(evaluation, judgement, phrases),
            "Retain": tell_kept(judgement, phrases),
            "Resist": tell_resistance(resistance),
            "Cost": tell_cost(record),
        },
        outcome=judge_outcome(record, judgement.forgotten, judgement.kept),
        forgotten=judgement.forgotten,
        kept=judgement.kept,
        resistance=resistance,
        caveats=caveats(record, evaluation, judgement, words, resistance),
    )


def judge_outcome(record: RunRecord, forgotten: Forgotten, kept: Kept) -> Outcome:
    """How two states make one outcome."""
    if record.status == "collapsed" or kept == "broken":
        return "broken"
    decided: dict[Forgotten, Outcome] = {
        "not_asked": "damaged" if kept == "damaged" else "nothing_to_forget",
        "not_memorised": "damaged" if kept == "damaged" else "not_memorised",
        "unmeasured": "unmeasured",
        "unchanged": "no_effect",
        "not_gone": "not_forgotten",
    }
    if forgotten in decided:
        return decided[forgotten]
    if kept in ("damaged", "unmeasured"):
        return kept
    gone = forgotten == "gone" and kept in ("kept", "less_varied")
    return "forgotten" if gone else "inconclusive"
