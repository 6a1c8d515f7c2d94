"""What a report says of a forgotten concept."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from efface.evaluation.wording import join_words, plural, shorten
from efface.records import RunRecord
from efface.requests.words import AppearanceWords, Phrases, keeping, source_of

if TYPE_CHECKING:
    from efface.requests.concept.request import ForgetConcept


class ConceptWords(AppearanceWords):
    """Words of a request to forget a concept."""

    request: "ForgetConcept"

    label: ClassVar[str] = "concept"
    pipeline_tag: ClassVar[str | None] = "text-to-image"
    unmeasured: ClassVar[str] = "That takes evaluate.detector or evaluate.clip."

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        replacement = self.request.replacement
        instead = "something else" if replacement is None else f"“{shorten(replacement)}”"
        own, every = (_name(requests) for requests in ([self.request], self.request.together))
        return Phrases(
            forgotten=every,
            rest="other samples",
            requested=f"The model {source_of(record)} was to forget {own} and to generate "
            f"{instead} instead.{keeping(self.request, f'{every} in all')}",
            many=bool(self.request.earlier),
        )

    def anonymous(self, record: RunRecord) -> str:
        count = len(self.request.together)
        return f"{'a' if count == 1 else count} {plural(count, 'concept')} chosen by the owner"


def _name(requests: "Sequence[ForgetConcept]") -> str:
    concepts = join_words([f"“{shorten(request.concept)}”" for request in requests])
    return f"the {plural(len(requests), 'concept')} {concepts}"
