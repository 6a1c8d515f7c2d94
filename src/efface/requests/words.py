"""What a report asks of a kind of request: what it is about, in words (no torch)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from efface.evaluation.wording import shorten
from efface.records import Evaluation, RunRecord

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """What sentences call the forgotten thing and the rest."""

    forgotten: str  # "class 4"
    rest: str  # "the other nine classes"
    requested: str  # a sentence on what was to be done
    many: bool = False  # whether the forgotten thing is in the plural
    rest_count: int = 2  # of things in the rest, as far as grammar goes

    @property
    def are(self) -> str:
        return "are" if self.many else "is"

    @property
    def it(self) -> str:
        return "they" if self.many else "it"

    @property
    def them(self) -> str:
        return "them" if self.many else "it"


class Words(ABC, Generic[R]):
    """What a report says of a kind of request: a function of JSON alone."""

    label: ClassVar[str]  # of such runs in a comparison
    forgets: ClassVar[bool] = True
    made: ClassVar[str] = "after forgetting"  # what became of a model, in the title of its card
    unmeasured: ClassVar[str] = ""  # what it takes to measure such a run
    unknown: ClassVar[str] = ""  # what is not known without attacks

    def __init__(self, request: R) -> None:
        self.request = request

    @abstractmethod
    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        """What sentences say of the request; `names` are those of labels."""

    @abstractmethod
    def anonymous(self, record: RunRecord) -> str:
        """What was forgotten, without any name, prompt or file name."""

    def task(self, record: RunRecord) -> str | None:
        """The pipeline tag of a model card."""
        return None

    def measured_with(self, evaluation: Evaluation) -> str:
        """A sentence on the network that decides."""
        return ""

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        """Sentences on what such a report does not claim, beside the caveats of its figures."""
        return []


def source_of(record: RunRecord) -> str:
    return shorten(str(record.model.get("source")))
