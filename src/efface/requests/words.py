"""What a report asks of a kind of request: what it is about, in words (no torch)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from efface.evaluation.wording import describe_interval, format_count, format_share, shorten

if TYPE_CHECKING:
    from efface.records import Evaluation, RunRecord

FIGURES = ("accuracy", "interval", "images")  # of a classifier, on images that were set apart
UNSTATED = "whose accuracy is not stated"


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """What sentences call the forgotten thing and the rest."""

    forgotten: str  # "class 4"
    rest: str  # "the other nine classes"
    requested: str  # a sentence on what was to be done
    many: bool = False  # whether the forgotten thing is in the plural
    rest_count: int = 2  # of things in the rest, as far as grammar goes
    called: str | None = None  # one of several forgotten things, where pronouns would not tell

    @property
    def are(self) -> str:
        return "are" if self.many else "is"

    @property
    def was(self) -> str:
        return "were" if self.many else "was"

    @property
    def it(self) -> str:
        return self.called or ("they" if self.many else "it")

    @property
    def them(self) -> str:
        return self.called or ("them" if self.many else "it")

    def about(self, subject: str | None) -> Phrases:
        """The same of one of several forgotten things; of None, of all of them."""
        return self if subject is None else replace(self, many=False, called=subject)


class Words(ABC):
    """What a report says of a kind of request: a function of JSON alone."""

    label: ClassVar[str]  # of such runs in a comparison
    forgets: ClassVar[bool] = True
    made: ClassVar[str] = "after forgetting"  # what became of a model, in the title of its card
    pipeline_tag: ClassVar[str | None] = None  # of a model card
    unmeasured: ClassVar[str] = ""  # what it takes to measure such a run
    unknown: ClassVar[str] = ""  # what is not known without attacks

    def __init__(self, request: Any) -> None:
        self.request = request

    @abstractmethod
    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        """What sentences say of the request; `names` are those of labels."""

    @abstractmethod
    def anonymous(self, record: RunRecord) -> str:
        """What was forgotten, without any name, prompt or file name."""

    def task(self, record: RunRecord) -> str | None:
        """The pipeline tag of a model card."""
        return self.pipeline_tag

    def measured_with(self, evaluation: Evaluation) -> str:
        """A sentence on the network that decides."""
        return ""

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        """Sentences on what such a report does not claim, beside the caveats of its figures."""
        return []


def keeping(request: Any, everything: str) -> str:
    """A further sentence where earlier requests are kept: what is forgotten with them."""
    if not request.earlier:
        return ""
    return f" What earlier requests forgot was to stay forgotten: {everything}."


def source_of(record: RunRecord) -> str:
    return shorten(str(record.model.get("source")))


class ConditionedWords(Words):
    """The figures of retained labels or prompts, and the network that decides."""

    def measured_with(self, evaluation: Evaluation) -> str:
        detector = find_detector(evaluation)
        if detector is not None:
            return f"A detector decided what the samples show: {shorten(detector)}."
        if evaluation.judge is None:
            if not _looked_for(evaluation):
                said = f"Nothing looked for what was to be forgotten. {self.unmeasured}".strip()
                return said if self.forgets else ""
            return "A CLIP chose between the concept and its replacement for every sample."
        stated = _accuracy(evaluation.judge, "held_out", "held-out images")
        stated = stated or _accuracy(evaluation.judge, "reference", "given real images")
        return f"A classifier {stated or UNSTATED} decided what the samples show."

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        if evaluation.judge is None and not _looked_for(evaluation):
            return []
        if find_detector(evaluation) is not None:
            return [
                "A detector is a network too: it overlooks some images that show the concept, and "
                "finds it in some that do not. Other thresholds show how much depends on that."
            ]
        if evaluation.judge is None:
            return [
                "A CLIP that chooses between two texts says which of them is nearer to an image, "
                "not that the image shows either."
            ]
        if not _accuracy(evaluation.judge, "held_out", ""):
            return ["How often the classifier is right on new images is not stated."]
        return ["The classifier was trained on real images, not on generated ones."]


class PlainWords(ConditionedWords):
    """A run that forgets nothing: a model that was trained from scratch."""

    label: ClassVar[str] = "training"
    forgets: ClassVar[bool] = False

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        requested = "A model was trained from scratch, with nothing to forget."
        return Phrases(forgotten="nothing", rest="the samples of the model", requested=requested)

    def anonymous(self, record: RunRecord) -> str:
        return "nothing"


class AppearanceWords(ConditionedWords):
    """What is forgotten is looked for in samples that are conditioned on it."""

    unknown: ClassVar[str] = (
        "Whether it comes back after further training, under another sampler or with other inputs "
        "is not known."
    )


def _accuracy(judge: Mapping[str, Any], measured: str, images: str) -> str:
    """'that is right on 98.3 % (95 % interval 96.4 to 99.4 %) of 360 ...', empty if unknown."""
    value, interval, count = (judge.get(f"{measured}_{k}") for k in FIGURES)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return ""
    between = ""
    if isinstance(interval, list) and [type(end) for end in interval] == [float, float]:
        between = f" ({describe_interval(interval[0], interval[1], 'share')})"
    of = f"{format_count(count)} " if isinstance(count, int) else ""
    return f"that is right on {format_share(value)}{between} of {of}{images}"


def _looked_for(evaluation: Evaluation) -> bool:
    """Whether any network looked for the forgotten thing in samples."""
    sides = {result.spec.side for result in evaluation.results if result.spec.role == "primary"}
    return "forget" in sides


def find_detector(evaluation: Evaluation) -> str | None:
    """The detector that the verdict rests on; None where it is a classifier or a CLIP."""
    for result in evaluation.results:
        extractor = result.extractor or {}
        if result.spec.role == "primary" and extractor.get("kind") == "detector":
            return extractor.get("name")
    return None
