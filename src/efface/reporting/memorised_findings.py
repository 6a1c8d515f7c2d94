"""What was found of a run that forgets the picture memorised for a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efface.records import Evaluation, Result
from efface.reporting.states import (
    FID_TOLERANCE,
    MARGIN,
    Forgotten,
    Kept,
    find_measured,
    heed_guards,
)

LEAST_QUALITY = 0.95  # times the untouched model's CLIP-IQA


@dataclass(frozen=True, kw_only=True)
class MemorisedFindings:
    """The two states, and the results that they were read from."""

    forgotten: Forgotten
    kept: Kept
    original: Result | None  # share of copies under the prompt itself
    modified: Result | None  # and under the prompt that draws the picture sometimes
    likeness: Result | None  # to the picture
    norm: Result | None  # of the text-conditional noise
    quality: Result | None  # CLIP-IQA under control prompts
    own_quality: Result | None  # under the prompt itself
    modified_quality: Result | None  # and under the modified prompt
    fid: Result | None


def find_memorised(evaluation: Evaluation) -> MemorisedFindings:
    original = find_measured(evaluation, "memorised_share")
    modified = find_measured(evaluation, "memorised_share_modified")
    quality, fid = find_measured(evaluation, "clip_iqa"), find_measured(evaluation, "fid")
    own = find_measured(evaluation, "prompt_clip_iqa")
    loosened = find_measured(evaluation, "prompt_clip_iqa_modified")
    looked = [result for result in (own, loosened) if result is not None]
    forgotten, kept = heed_guards(
        evaluation, judge_forgotten(original, modified), judge_kept(quality, fid, looked)
    )
    return MemorisedFindings(
        forgotten=forgotten,
        kept=kept,
        original=original,
        modified=modified,
        likeness=find_measured(evaluation, "reference_similarity"),
        norm=find_measured(evaluation, "text_noise_norm"),
        quality=quality,
        own_quality=own,
        modified_quality=loosened,
        fid=fid,
    )


def count_drawn(share: Result) -> tuple[int, int]:
    """How many pictures of the untouched model are copies, and how many of this one."""
    return round(share.baseline.value * share.samples), round(share.value * share.samples)


def judge_forgotten(original: Result | None, modified: Result | None) -> Forgotten:
    """Gone is a picture that neither prompt draws, where the fall is beyond both intervals."""
    shares = [share for share in (original, modified) if share is not None]
    if original is None:
        return "unmeasured"
    before = sum(count_drawn(share)[0] for share in shares)
    after = sum(count_drawn(share)[1] for share in shares)
    if before == after == 0:
        return "not_memorised"
    fewer = any(share.high < share.baseline.low for share in shares)
    more = any(share.low > share.baseline.high for share in shares)
    if after == 0:
        return "gone" if fewer else "unsettled"
    return "not_gone" if fewer or more else "unchanged"


def judge_kept(quality: Result | None, fid: Result | None, own: Sequence[Result] = ()) -> Kept:
    """Call damage what the intervals show, and unsettled what they do not exclude.

    `own` is the quality under the two prompts, whose picture may have given way to noise; alone
    it says nothing good of what other prompts draw.
    """
    damaged = unclear = False
    for looked in [*own, *([] if quality is None else [quality])]:
        damaged |= looked.high < LEAST_QUALITY * looked.baseline.low
        unclear |= looked.low < (1 - MARGIN) * looked.baseline.value
    if fid is not None:
        worst = FID_TOLERANCE * fid.baseline.high
        damaged |= fid.low > worst
        unclear |= fid.value > worst
    if damaged:
        return "damaged"
    if quality is None and fid is None:
        return "unmeasured"
    return "unsettled" if unclear else "kept"
