"""What a report says of a forgotten concept, and of rates by group of prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from efface.evaluation.wording import shorten
from efface.records import RunRecord
from efface.requests.concept.request import ForgetConcept
from efface.requests.conditioned import AppearanceWords
from efface.requests.glossary import FORGET, RETAIN, Group, Term
from efface.requests.words import Phrases, source_of

RATES: dict[str, tuple[Group, str]] = {  # metric/KIND/NAME -> group of the table, what is found
    "concept_rate": (FORGET, "in which the concept is found"),
    "kept_rate": (RETAIN, "in which what the group looks for is found"),
}
GROUPS = {  # kinds of prompt groups -> label, what their samples are conditioned on
    "own": ("Own word", "samples conditioned on the concept"),
    "paraphrase": ("Paraphrase", "samples conditioned on other words for the concept"),
    "neighbour": ("Neighbour", "samples conditioned on something similar to the concept"),
    "composition": ("Composition", "samples conditioned on the concept among other things"),
    "unrelated": ("Unrelated", "samples conditioned on something unrelated to the concept"),
}


class ConceptWords(AppearanceWords):
    """Words of a request to forget a concept."""

    label: ClassVar[str] = "concept"
    happened: ClassVar[str] = "was found"
    unmeasured: ClassVar[str] = "That takes evaluate.detector or evaluate.clip."
    terms: ClassVar[Mapping[str, Term]] = {
        "retained_accuracy": Term(
            "Neighbours retained",
            RETAIN,
            "samples conditioned on neighbours of the concept that still show them",
        ),
    }

    def __init__(self, request: ForgetConcept) -> None:
        self.request = request

    def term(self, metric: str) -> Term:
        rate, _, rest = metric.partition("/")
        kind, _, name = rest.partition("/")
        if rate not in RATES or kind not in GROUPS:
            return super().term(metric)
        (group, found), (label, samples) = RATES[rate], GROUPS[kind]
        return Term(f"{label}: {shorten(name)}", group, f"{samples} {found}")

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        del names
        replacement = self.request.replacement
        instead = "something else" if replacement is None else f"“{shorten(replacement)}”"
        forgotten = f"the concept “{shorten(self.request.concept)}”"
        return Phrases(
            forgotten=forgotten,
            rest="other samples",
            requested=f"The model {source_of(record)} was to forget {forgotten} and to generate "
            f"{instead} instead.",
        )

    def anonymous(self, record: RunRecord) -> str:
        del record
        return "a concept chosen by the owner"

    def task(self, record: RunRecord) -> str:
        del record
        return "text-to-image"
