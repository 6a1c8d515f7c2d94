"""Words of runs whose samples are conditioned on labels or prompts (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from efface.evaluation.wording import format_count, format_share, shorten
from efface.records import Evaluation, Result, RunRecord, Value
from efface.requests.states import (
    COLLAPSE,
    NO_OP,
    Forgotten,
    Kept,
    find_measured,
    has_halved,
    judge_fid,
    judge_score,
    judge_together,
)
from efface.requests.words import Evidence, Judgement, Phrases, Words, counted, judge_guarded

APPEARS = 0.05  # what appears less often than this, by its whole interval, is gone
RETAINED = ("retained_accuracy", "fid", "recall")


class ConditionedWords(Words):
    """The figures of retained labels or prompts, and the network that decides."""

    def measured_with(self, evaluation: Evaluation) -> str:
        detector = find_detector(evaluation)
        if detector is not None:
            return f"A detector looked for it in the samples: {shorten(detector)}."
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
        del record
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

    def retained(self, evaluation: Evaluation, one_step: bool = False) -> tuple[Evidence, ...]:
        """What the state of retained samples rests on."""
        return self.figures([find_measured(evaluation, name) for name in RETAINED], one_step)


class PlainWords(ConditionedWords):
    """A run that forgets nothing: a model that was trained from scratch."""

    label: ClassVar[str] = "training"
    forgets: ClassVar[bool] = False

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        del record, names
        requested = "A model was trained from scratch, with nothing to forget."
        return Phrases(forgotten="nothing", rest="the samples of the model", requested=requested)

    def anonymous(self, record: RunRecord) -> str:
        del record
        return "nothing"

    def judge(self, record: RunRecord, evaluation: Evaluation, phrases: Phrases) -> Judgement:
        del record, phrases
        states = judge_guarded(evaluation, "not_asked", judge_retained(evaluation))
        return Judgement(**states, retain=self.retained(evaluation))


class AppearanceWords(ConditionedWords):
    """What is forgotten is looked for in samples that are conditioned on it."""

    happened: ClassVar[str] = "appeared"
    unknown: ClassVar[str] = (
        "Whether it comes back after further training, under another sampler or with other inputs "
        "is not known."
    )

    def judge(self, record: RunRecord, evaluation: Evaluation, phrases: Phrases) -> Judgement:
        rate = find_rate(evaluation)
        states = judge_guarded(evaluation, judge_rate(rate), judge_retained(evaluation))
        one_step = NO_OP in evaluation.guards and _samples_in_one_step(record, evaluation)
        if one_step and COLLAPSE not in evaluation.guards:
            states["kept"] = _judge_step(states["kept"], evaluation)
        forget = []
        if rate is not None:
            happened = f"{phrases.they} {self.happened} in"
            forget = [counted(rate, happened, f"show {phrases.them}", one_step=one_step)]
        return Judgement(
            **states,
            forget=tuple(forget),
            retain=self.retained(evaluation, one_step),
            one_step=one_step,
        )


def find_rate(evaluation: Evaluation) -> Result | None:
    """How often the forgotten thing appears: as a classifier sees it, or a detector or a CLIP."""
    accuracy = find_measured(evaluation, "unlearning_accuracy")
    if accuracy is None:
        return find_measured(evaluation, "concept_rate")
    own = _without(Value(value=accuracy.value, low=accuracy.low, high=accuracy.high))
    others = {
        name: None if value is None else _without(value)
        for name, value in (
            ("baseline", accuracy.baseline),
            ("baseline_one_step", accuracy.baseline_one_step),
            ("retrained", accuracy.retrained),
        )
    }
    return accuracy.model_copy(update=own.model_dump() | others)


def _without(share: Value) -> Value:
    return Value(value=1 - share.value, low=1 - share.high, high=1 - share.low)


def find_detector(evaluation: Evaluation) -> str | None:
    """The detector that the verdict rests on; None where it is a classifier or a CLIP."""
    rate = evaluation.get("concept_rate")
    if rate is None or evaluation.get("unlearning_accuracy") is not None:
        return None
    extractor = rate.extractor or {}
    return extractor.get("name") if extractor.get("kind") == "detector" else None


def judge_rate(rate: Result | None) -> Forgotten:
    """Read the state off the whole interval; unchanged where it meets the original model's."""
    if rate is None:
        return "unmeasured"
    if rate.high >= rate.baseline.low:
        return "unchanged"
    if rate.high <= APPEARS:
        return "gone"
    return "not_gone" if rate.low > APPEARS else "inconclusive"


def judge_retained(evaluation: Evaluation, one_step: bool = False) -> Kept:
    """What became of retained samples.

    `one_step` is beside the original model in one step, as far as that was measured.
    """
    found = (find_measured(evaluation, name) for name in RETAINED)
    retained, fid, recall = (_in_one_step(result) if one_step else result for result in found)
    if retained is None:
        return "unmeasured"
    if has_halved(retained):
        return "broken"
    return judge_together(judge_score(retained), judge_fid(fid), recall=recall)


def _in_one_step(result: Result | None) -> Result | None:
    """A figure beside the original model's in one step; None where that is not known."""
    if result is None or result.baseline_one_step is None:
        return None
    beside = result.model_copy(update={"baseline": result.baseline_one_step})
    return find_measured(Evaluation(results=[beside]), result.metric)


def _samples_in_one_step(record: RunRecord, evaluation: Evaluation) -> bool:
    recorded = record.sampler.get("passes") == 1
    return recorded or any(r.baseline_one_step is not None for r in evaluation.results)


def _judge_step(kept: Kept, evaluation: Evaluation) -> Kept:
    """Without an effect, tell what is worse for being sampled in one step from damage.

    Damage is what the original model does not show in one step either; where that was not
    measured, the guard has seen that both generate the same.
    """
    if kept in ("kept", "unmeasured"):
        return kept
    beside = judge_retained(evaluation, one_step=True)
    return beside if beside in ("damaged", "broken") else "one_step"
