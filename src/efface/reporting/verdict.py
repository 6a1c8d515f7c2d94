"""What a run amounts to, in plain language: a pure function of its records."""

from collections.abc import Mapping
from dataclasses import dataclass

from efface.records import Attacks, Evaluation, RunRecord
from efface.reporting.attack_words import tell_resistance
from efface.reporting.caveats import caveats
from efface.reporting.cost import tell_cost
from efface.reporting.findings import (
    Answer,
    Findings,
    find_forgotten,
    find_retained,
    is_unchanged,
)
from efface.reporting.resistance import Resistance, find_resistance
from efface.reporting.sentences import tell_forgotten, tell_headline, tell_lead, tell_retained
from efface.requests import words_of

KINDS = {"yes": "good", "no": "bad"}  # of marks; what is neither is a warning
MARKS: dict[str, dict[Answer, str]] = {
    "Forgotten": {"yes": "forgotten", "no": "not forgotten"},
    "Retained": {"yes": "preserved", "no": "damaged", "inconclusive": "damage not ruled out"},
    "Resists": {"yes": "did not come back", "no": "comes back"},
}


@dataclass(frozen=True)
class Judgement:
    """One answer with the figures that it rests on, in a sentence or more."""

    title: str
    mark: tuple[str, str]  # good, warn or bad, and a word or two
    text: str
    source: str  # what it was read from, as it ends that part's anchor


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Three answers, each with the figures that it rests on, and what a reader is told of them."""

    headline: str
    lead: str
    judgements: tuple[Judgement, ...]
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
    gone = _judgement(
        "Forgotten",
        forgotten.answer,
        tell_forgotten(evaluation, forgotten, phrases),
        "how-change" if is_unchanged(evaluation) else _source(evaluation, forgotten),
    )
    rest = _judgement(
        "Retained",
        retained.answer,
        tell_retained(retained, phrases),
        "how-change" if evaluation.broken else _source(evaluation, retained),
    )
    source = "attacks" if resistance.findings else ""
    resists = _judgement("Resists", resistance.answer, tell_resistance(resistance), source)
    cost = Judgement("Cost", *tell_cost(record, evaluation), "facts-run")
    return Verdict(
        headline=tell_headline(evaluation, forgotten, retained, resistance, phrases, words),
        lead=tell_lead(record, evaluation, words, phrases),
        judgements=(gone, rest, resists, cost) if words.forgets else (rest, cost),
        forgotten=forgotten,
        retained=retained,
        resistance=resistance,
        caveats=caveats(record, evaluation, forgotten, words, resistance),
    )


def _judgement(title: str, answer: Answer, text: str, source: str) -> Judgement:
    words = MARKS[title].get(answer, answer.replace("_", " "))
    return Judgement(title, (KINDS.get(answer, "warn"), words), text, source)


def _source(evaluation: Evaluation, findings: Findings) -> str:
    if findings.decisive is None:
        return ""
    return f"how-{evaluation.results.index(findings.decisive.result)}"
