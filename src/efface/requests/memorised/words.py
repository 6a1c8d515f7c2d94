"""What a report says of a forgotten memorised image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from efface.evaluation.wording import format_count, format_share, shorten
from efface.records import Evaluation, Result, RunRecord
from efface.requests.glossary import FORGET, RETAIN, Term
from efface.requests.memorised.request import ForgetMemorised
from efface.requests.states import (
    MARGIN,
    Forgotten,
    Kept,
    find_measured,
    judge_fid,
    judge_score,
    judge_together,
)
from efface.requests.words import (
    Judgement,
    Phrases,
    Words,
    counted,
    counts,
    judge_guarded,
    source_of,
)

LEAST_QUALITY = 0.95  # times the original model's CLIP-IQA
MODIFIED = "_modified"  # ends the name of a figure of the modified prompt
WAYS = {
    "unchanged": "the prompt itself",
    "given": "given with the request",
    "tokens": "found by changing words",
    "embedding": "found by descent on the prompt's embedding, and no prompt has that text",
}


class MemorisedWords(Words):
    """Words of a request to forget the image memorised for a prompt."""

    label: ClassVar[str] = "memorised image"
    unknown: ClassVar[str] = "Whether another prompt still finds it is not known."
    terms: ClassVar[Mapping[str, Term]] = {
        "memorised_share": Term(
            "Memorised share",
            FORGET,
            "samples of the prompt that are copies of the memorised image",
        ),
        "memorised_share_modified": Term(
            "Memorised share, modified prompt",
            FORGET,
            "the same for the prompt that generates the memorised image only sometimes",
        ),
        "reference_similarity": Term(
            "Similarity", FORGET, "of the prompt's samples to the memorised image: 1 for the same"
        ),
        "reference_similarity_modified": Term(
            "Similarity, modified prompt", FORGET, "the same for the modified prompt"
        ),
        "text_noise_norm": Term(
            "Text-noise norm",
            FORGET,
            "how much the prompt changes the predicted noise: large where an image is memorised",
        ),
        "text_noise_norm_modified": Term(
            "Text-noise norm, modified prompt", FORGET, "the same for the modified prompt"
        ),
        "prompt_clip_iqa": Term(
            "CLIP-IQA of the prompt", RETAIN, "how good the prompt's own samples look to a CLIP"
        ),
        "prompt_clip_iqa_modified": Term(
            "CLIP-IQA of the modified prompt", RETAIN, "the same for the modified prompt"
        ),
    }

    def __init__(self, request: ForgetMemorised) -> None:
        self.request = request

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        del names
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
        del record
        return "an image memorised for one prompt"

    def task(self, record: RunRecord) -> str:
        del record
        return "text-to-image"

    def judge(self, record: RunRecord, evaluation: Evaluation, phrases: Phrases) -> Judgement:
        del record, phrases
        share, modified = (
            find_measured(evaluation, f"memorised_share{end}") for end in ("", MODIFIED)
        )
        copied = [
            counted(found, "it was copied in", "copy it", f"samples of {prompt}")
            for found, prompt in ((share, "the prompt"), (modified, "the modified prompt"))
            if found is not None
        ]
        own = [find_measured(evaluation, f"prompt_clip_iqa{end}") for end in ("", MODIFIED)]
        quality, fid = (find_measured(evaluation, name) for name in ("clip_iqa", "fid"))
        return Judgement(
            **judge_guarded(
                evaluation, judge_forgotten(share, modified), judge_retained(quality, fid, own)
            ),
            forget=tuple(copied),
            retain=self.figures([quality, fid, *own]),
        )

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        del record, evaluation
        return [
            "A copy is a sample whose similarity to the memorised image exceeds a set threshold; a "
            "looser similarity does not count.",
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


def judge_forgotten(original: Result | None, modified: Result | None) -> Forgotten:
    """Gone is an image that neither prompt generates, where the fall is beyond both intervals."""
    if original is None:
        return "unmeasured"
    shares = [share for share in (original, modified) if share is not None]
    before = sum(counts(share)[0] for share in shares)
    after = sum(counts(share)[1] for share in shares)
    if before == after == 0:
        return "not_memorised"
    fewer = any(share.high < share.baseline.low for share in shares)
    more = any(share.low > share.baseline.high for share in shares)
    if after == 0:
        return "gone" if fewer else "inconclusive"
    return "not_gone" if fewer or more else "unchanged"


def judge_retained(
    quality: Result | None, fid: Result | None, own: Sequence[Result | None] = ()
) -> Kept:
    """Call damage what the intervals show, and inconclusive what they do not exclude.

    `own` is the quality under the two prompts, whose image may have given way to noise; alone it
    says nothing good of samples of other prompts.
    """
    scores = [score for score in (quality, *own) if score is not None]
    kept = judge_fid(fid)
    for score in scores:
        margin = MARGIN * score.baseline.value
        kept = judge_together(kept, judge_score(score, LEAST_QUALITY, margin))
    return "unmeasured" if kept != "damaged" and quality is None and fid is None else kept
