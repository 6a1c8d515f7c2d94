"""What a report says of a model that was distilled to one step."""

from collections.abc import Mapping
from typing import ClassVar

from efface.records import RunRecord
from efface.requests.words import Phrases, PlainWords, source_of


class DistilWords(PlainWords):
    """Words of a request to distil."""

    label: ClassVar[str] = "distillation"
    made: ClassVar[str] = "in one step"

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        requested = (
            f"The model {source_of(record)} was distilled to sample in one step, with nothing to "
            "forget."
        )
        return Phrases(forgotten="nothing", rest="the samples of the model", requested=requested)

    def anonymous(self, record: RunRecord) -> str:
        return "nothing yet"

    def task(self, record: RunRecord) -> str | None:
        return "text-to-image" if record.model.get("classes") is None else None
