"""What a report says of a run that forgot brightness (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from efface.records import RunRecord
from efface.requests.words import Phrases, Words


class BrightnessWords(Words):
    """Bright images, and the others."""

    label: ClassVar[str] = "bright images"

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        del names
        above = record.request["above"]
        return Phrases(
            forgotten="bright images",
            rest="other images",
            requested=f"Images brighter than {above:g} were to be forgotten.",
            many=True,
        )

    def anonymous(self, record: RunRecord) -> str:
        del record
        return "bright images"
