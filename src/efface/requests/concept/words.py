"""What a report says of a forgotten concept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from efface.evaluation.wording import shorten
from efface.records import RunRecord
from efface.requests.concept.request import ForgetConcept
from efface.requests.conditioned import AppearanceWords
from efface.requests.words import Phrases, source_of


class ConceptWords(AppearanceWords[ForgetConcept]):
    """Words of a request to forget a concept."""

    label: ClassVar[str] = "concept"
    unmeasured: ClassVar[str] = "That takes evaluate.detector or evaluate.clip."

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
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
        return "a concept chosen by the owner"

    def task(self, record: RunRecord) -> str:
        return "text-to-image"
