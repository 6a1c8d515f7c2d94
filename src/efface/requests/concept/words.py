"""What a report says of a forgotten concept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from efface.evaluation.wording import shorten
from efface.records import RunRecord
from efface.requests.words import AppearanceWords, Phrases, source_of

if TYPE_CHECKING:
    from efface.requests.concept.request import ForgetConcept


class ConceptWords(AppearanceWords):
    """Words of a request to forget a concept."""

    request: ForgetConcept

    label: ClassVar[str] = "concept"
    pipeline_tag: ClassVar[str | None] = "text-to-image"
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
