"""Words of runs whose samples are conditioned on labels or prompts (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from efface.evaluation.wording import format_count, format_share, shorten
from efface.records import Evaluation, RunRecord
from efface.requests.words import Phrases, R, Words


class ConditionedWords(Words[R]):
    """The figures of retained labels or prompts, and the network that decides."""

    def measured_with(self, evaluation: Evaluation) -> str:
        detector = find_detector(evaluation)
        if detector is not None:
            return f"A detector decided what the samples show: {shorten(detector)}."
        if evaluation.judge is None:
            return "A CLIP chose between the concept and its replacement for every sample."
        accuracy, images = (evaluation.judge.get(f"held_out_{k}") for k in ("accuracy", "images"))
        if not isinstance(accuracy, (int, float)) or not math.isfinite(accuracy):
            return "A classifier decided what the samples show."
        of = f"{format_count(images)} " if isinstance(images, int) else ""
        return (
            f"A classifier that is right on {format_share(accuracy)} of {of}held-out images "
            "decided what the samples show."
        )

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        if not evaluation.results:
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
        return ["The classifier was trained on real images, not on generated ones."]


class PlainWords(ConditionedWords[Any]):
    """A run that forgets nothing: a model that was trained from scratch."""

    label: ClassVar[str] = "training"
    forgets: ClassVar[bool] = False

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        requested = "A model was trained from scratch, with nothing to forget."
        return Phrases(forgotten="nothing", rest="the samples of the model", requested=requested)

    def anonymous(self, record: RunRecord) -> str:
        return "nothing"


class AppearanceWords(ConditionedWords[R]):
    """What is forgotten is looked for in samples that are conditioned on it."""

    unknown: ClassVar[str] = (
        "Whether it comes back after further training, under another sampler or with other inputs "
        "is not known."
    )


def find_detector(evaluation: Evaluation) -> str | None:
    """The detector that the verdict rests on; None where it is a classifier or a CLIP."""
    for result in evaluation.results:
        extractor = result.extractor or {}
        if result.spec.role == "primary" and extractor.get("kind") == "detector":
            return extractor.get("name")
    return None
