"""What a report says of a forgotten memorised image."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from efface.evaluation.wording import format_count, format_share, shorten
from efface.records import Evaluation, RunRecord
from efface.requests.words import Phrases, Words, source_of

if TYPE_CHECKING:
    from efface.requests.memorised.request import ForgetMemorised


class MemorisedWords(Words):
    """Words of a request to forget the image memorised for a prompt."""

    request: "ForgetMemorised"

    label: ClassVar[str] = "memorised image"
    pipeline_tag: ClassVar[str | None] = "text-to-image"
    unknown: ClassVar[str] = "Whether another prompt still finds it is not known."

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        asked = (
            f"The model {source_of(record)} was to forget the image memorised for "
            f"“{shorten(self.request.prompt)}”."
        )
        return Phrases(
            forgotten="the memorised image",
            rest="samples of other prompts",
            requested=f"{asked} {self._modified(record.notes)}".strip(),
        )

    def anonymous(self, record: RunRecord) -> str:
        return "an image memorised for one prompt"

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        return [
            "The model was trained on its own samples: what it generates badly was taught once "
            "more."
        ]

    def _modified(self, notes: Mapping[str, Any]) -> str:
        """What the training images were generated for, as far as that is recorded."""
        share, copies, others = (notes.get(key) for key in ("modified_share", "copies", "others"))
        if not (isinstance(share, float) and isinstance(copies, int) and isinstance(others, int)):
            return ""
        text = str(notes.get("modified_prompt"))
        prompt, how = f"a prompt “{shorten(text)}”", "found by changing words"
        if text == self.request.prompt:
            prompt, how = "that prompt", "unchanged"
        elif text == self.request.modified_prompt:
            how = "given with the request"
        return (
            f"It was trained on {format_count(copies)} copies and {format_count(others)} other "
            f"samples of {prompt} ({how}; {format_share(share)} of its trial samples are copies)."
        )
