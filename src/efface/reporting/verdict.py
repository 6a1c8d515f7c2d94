"""What a run amounts to, in plain language: a pure function of its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from efface.records import Attacks, Evaluation, RunRecord
from efface.reporting.attack_words import tell_resistance
from efface.reporting.cards import Card, cost_card, findings_card, resistance_card, tell_cost
from efface.reporting.caveats import caveats
from efface.reporting.findings import Answer, Findings, find_forgotten, find_retained
from efface.reporting.resistance import Resistance, find_resistance
from efface.reporting.sentences import tell_forgotten, tell_headline, tell_lead, tell_retained
from efface.requests import words_of


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Three answers, each with the figures that it rests on, and what a reader is told of them."""

    headline: str
    lead: str
    cards: tuple[Card, ...]
    told: dict[str, str]  # Forget, Retain, Resist, Cost: a sentence or more each
    forgotten: Findings
    retained: Findings
    resistance: Resistance
    caveats: list[str]

    @property
    def answers(self) -> dict[str, Answer]:
        return {
            "forget": self.forgotten.answer,
            "retain": self.retained.answer,
            "resist": self.resistance.answer,
        }

    @property
    def summary(self) -> str:
        """'forget: yes, retain: yes, resist: not measured'."""
        return ", ".join(f"{k}: {v.replace('_', ' ')}" for k, v in self.answers.items())


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
    forgotten, retained = find_forgotten(evaluation), find_retained(evaluation)
    resistance = find_resistance(record, attacks)
    results = evaluation.results
    cards = [findings_card("Retained", retained, results), cost_card(record)]
    told = {"Retain": tell_retained(retained, phrases), "Cost": tell_cost(record)}
    if words.forgets:
        cards.insert(0, findings_card("Forgotten", forgotten, results))
        cards.insert(2, resistance_card(resistance))
        told = {
            "Forget": tell_forgotten(evaluation, forgotten, phrases),
            "Retain": told["Retain"],
            "Resist": tell_resistance(resistance),
            "Cost": told["Cost"],
        }
    return Verdict(
        headline=tell_headline(evaluation, forgotten, retained, resistance, phrases, words),
        lead=tell_lead(record, evaluation, words, phrases),
        cards=tuple(cards),
        told=told,
        forgotten=forgotten,
        retained=retained,
        resistance=resistance,
        caveats=caveats(record, evaluation, forgotten, words, resistance),
    )
