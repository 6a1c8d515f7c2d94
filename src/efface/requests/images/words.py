"""What a report says of forgotten images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from efface.evaluation.wording import format_count, format_share, number_word, plural
from efface.records import Evaluation, Result, RunRecord
from efface.requests.glossary import FORGET, Term
from efface.requests.images.request import GENERATE, ForgetImages
from efface.requests.states import (
    MARGIN,
    Forgotten,
    Kept,
    find_measured,
    has_halved,
    judge_fid,
    judge_score,
    judge_together,
)
from efface.requests.words import (
    Evidence,
    Judgement,
    Phrases,
    Words,
    beside,
    counted,
    counts,
    judge_guarded,
    source_of,
)

UNSEEN = 0.15  # a membership gap up to this counts as that of an unseen image
OVERSHOT = -0.5  # a membership gap below this is beyond that of unseen images
LEAST_INCEPTION = 0.97  # times the original model's inception score
FEW = 30  # images: a mean over fewer depends on which they are
EQUAL = 5e-4  # a gap that would be written as 0 percent


class ImageWords(Words):
    """Words of a request to forget images."""

    label: ClassVar[str] = "images"
    unknown: ClassVar[str] = (
        "Another way to extract an image, such as a search for the noise that leads to it, further "
        "training or another sampler, may still find it."
    )
    terms: ClassVar[Mapping[str, Term]] = {
        "copy_rate": Term("Copy rate", FORGET, "samples that are copies of a forgotten image"),
        "membership_gap": Term(
            "Membership gap",
            FORGET,
            "how far the denoising loss lies below that of unseen images: 0 as if never seen, "
            "above 0 still known, below 0 overshot, which is not better",
        ),
        "membership_auc": Term(
            "Membership test",
            FORGET,
            "chance that the loss tells a forgotten image from an unseen one: 0.5 is a coin toss",
        ),
        "forgotten_loss": Term(
            "Denoising loss", FORGET, "of the forgotten images: low where they are known"
        ),
        "copy_similarity": Term(
            "Similarity",
            FORGET,
            "how much of a forgotten image comes back after noise: 1 is all of it, and less than "
            "for unseen images is not better",
        ),
        "normalised_similarity": Term(
            "Relative similarity",
            FORGET,
            "similarity over that of unseen images: 1 as if never seen",
        ),
        "nll": Term(
            "Negative log likelihood",
            FORGET,
            "of the forgotten images, in bits per pixel: low where they are known",
        ),
    }

    def __init__(self, request: ForgetImages) -> None:
        self.request = request

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        del names
        count = count_images(record)
        number = f"{number_word(count)} " if count > 1 else ""
        forgotten = "the image" if count == 1 else f"the {number}images"
        what = "one image" if count == 1 else f"{number or 'particular '}images"
        return Phrases(
            forgotten=forgotten,
            rest="other samples",
            requested=f"The model {source_of(record)} was to forget {what}.",
            many=count != 1,
        )

    def anonymous(self, record: RunRecord) -> str:
        count = count_images(record)
        return f"{format_count(count)} {plural(count, 'image')}"

    def task(self, record: RunRecord) -> str:
        del record
        return "unconditional-image-generation"

    def judge(self, record: RunRecord, evaluation: Evaluation, phrases: Phrases) -> Judgement:
        del record
        copies, gap = (find_measured(evaluation, name) for name in ("copy_rate", "membership_gap"))
        evidence = [] if copies is None else [_copied(copies, phrases)]
        if gap is not None:
            evidence.append(_known(gap, phrases))
            if gap.value > UNSEEN and copies is not None and counts(copies)[1] == 0:
                evidence.reverse()  # what is not copied may still be known
        retained = [find_measured(evaluation, n) for n in ("fid", "inception_score", "recall")]
        return Judgement(
            **judge_guarded(evaluation, judge_forgotten(copies, gap), judge_retained(evaluation)),
            forget=tuple(evidence),
            retain=self.figures(retained),
            overshot=gap is not None and gap.value < OVERSHOT,
        )

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        said = [
            "This is not differential privacy: nothing is guaranteed to anybody whose image was "
            "among the training images."
        ]
        if self.request.retain == GENERATE:
            said.append(
                "The retained images are not training images: the original model generated them. "
                "What it generates seldom or badly was protected less."
            )
        if evaluation.results:
            said.append(_about_copies(evaluation))
            said += _about_gap(evaluation, self.request.unseen, count_images(record))
        return said


def count_images(record: RunRecord) -> int:
    """How many images were to be forgotten; 0 where that is not recorded."""
    hashes = record.material.get("hashes")
    return len(hashes) if isinstance(hashes, list) else 0


def _copied(copies: Result, phrases: Phrases) -> Evidence:
    happened = f"{phrases.they} {'were' if phrases.many else 'was'} copied in"
    return counted(copies, happened, f"copy {phrases.them}")


def _known(gap: Result, phrases: Phrases) -> Evidence:
    value = _describe_gap(gap.value)
    whose = "their" if phrases.many else "its"
    return Evidence(
        result=gap,
        value=value,
        meaning="the denoising loss of unseen images",
        beside=beside(gap, _describe_gap),
        said=f"{whose} denoising loss is {value} that of unseen images",
    )


def _describe_gap(gap: float) -> str:
    if abs(gap) < EQUAL:
        return "equal to"
    return f"{format_share(abs(gap))} {'below' if gap > 0 else 'above'}"


def judge_forgotten(copies: Result | None, gap: Result | None) -> Forgotten:
    """Gone is an image that no sample copies, where some did, and that is no better known.

    No better known than unseen images: a gap of at most UNSEEN. Both must have been measured, and
    one of them must have fallen beyond its intervals.
    """
    if copies is None and gap is None:
        return "unmeasured"
    before, after = (0, 0) if copies is None else counts(copies)
    gaps = () if gap is None else (gap.baseline.value, gap.value)
    if before == after == 0 and all(value <= UNSEEN for value in gaps):
        return "not_memorised"
    fewer = copies is not None and copies.high < copies.baseline.low
    fell = gap is not None and gap.high < gap.baseline.low
    if after == 0 and all(value <= UNSEEN for value in gaps[1:]):
        shown = fewer or (fell and before == 0)
        if shown and copies is not None and gap is not None:
            return "gone"
        if shown or before:
            return "inconclusive"
    more = copies is not None and copies.low > copies.baseline.high
    return "not_gone" if fewer or fell or more else "unchanged"


def judge_retained(evaluation: Evaluation) -> Kept:
    """Damage that also takes half of precision or recall is a broken model."""
    names = ("fid", "inception_score", "precision", "recall")
    fid, inception, precision, recall = (find_measured(evaluation, name) for name in names)
    margin = 0.0 if inception is None else MARGIN * inception.baseline.value
    score = judge_score(inception, LEAST_INCEPTION, margin)
    kept = judge_together(judge_fid(fid), score, recall=recall)
    return "broken" if kept == "damaged" and has_halved(precision, recall) else kept


def _about_copies(evaluation: Evaluation) -> str:
    if find_measured(evaluation, "copy_rate") is None:
        return "Whether the model still generates copies was not measured."
    return (
        "A copy is a sample within a set distance of a forgotten image; a looser similarity does "
        "not count."
    )


def _about_gap(evaluation: Evaluation, unseen: str | None, count: int) -> list[str]:
    gap = find_measured(evaluation, "membership_gap")
    if gap is None:
        why = "" if unseen else ": no unseen images were given"
        return [
            "Whether the model knows the forgotten images better than unseen ones was not measured"
            f"{why}."
        ]
    said = [
        "More forgetting than never seen is not better: a model that does worse on an image than "
        "on unseen ones shows that it was made to."
    ]
    if gap.retrained is None and 0 < count < FEW:
        said.append(
            "A plain image is easy to denoise even if it was never seen. With "
            f"{format_count(count)} {plural(count, 'image')}, only a retrained model would tell "
            "how much of a gap that explains, and none was measured."
        )
    return said
