"""What a report says of a forgotten memorised image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from efface.evaluation.wording import format_count, format_share, shorten
from efface.records import Evaluation, RunRecord
from efface.requests.words import Phrases, Words, source_of

if TYPE_CHECKING:
    from efface.requests.memorised.request import ForgetMemorised

WAYS = {
    "unchanged": "the prompt itself",
    "given": "given with the request",
    "tokens": "found by changing words",
    "embedding": "found by descent on the prompt's embedding, and no prompt has that text",
}


class MemorisedWords(Words):
    """Words of a request to forget the image memorised for a prompt."""

    request: ForgetMemorised

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
            requested=f"{asked} {_describe_modified(record.notes)}".strip(),
        )

    def anonymous(self, record: RunRecord) -> str:
        return "an image memorised for one prompt"

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        return [
            "The model was trained on its own samples: what it generates badly was taught once "
            "more.",
        ]


def _describe_modified(notes: Mapping[str, Any]) -> str:
    """What the training images were generated for, as far as that is recorded."""
    share, copies, others = (notes.get(key) for key in ("modified_share", "copies", "others"))
    if not (isinstance(share, float) and isinstance(copies, int) and isinstance(others, int)):
        return ""
    way, text = notes.get("modified_by"), ""
    if way in ("given", "tokens"):
        text = f" “{shorten(str(notes.get('modified_prompt')))}”"
    how = WAYS.get(str(way), "")
    return (
        f"It was trained on {format_count(copies)} copies and {format_count(others)} other samples "
        f"of a prompt{text} ({how + '; ' if how else ''}{format_share(share)} of its trial samples "
        "are copies)."
    )
