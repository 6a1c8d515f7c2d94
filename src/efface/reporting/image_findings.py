"""What was found of a run that forgets particular pictures."""

from __future__ import annotations

from dataclasses import dataclass

from efface.records import Evaluation, Result
from efface.reporting.states import (
    COLLAPSED,
    FID_TOLERANCE,
    MARGIN,
    Forgotten,
    Kept,
    find_measured,
    heed_guards,
)

NEVER_SEEN = 0.15  # a membership gap up to this counts as that of a picture never seen
OVERSHOT = -0.5  # a membership gap below this is pushed beyond never seen
LEAST_INCEPTION = 0.97  # times the untouched model's inception score


@dataclass(frozen=True, kw_only=True)
class ImageFindings:
    """The two states, and the results that they were read from."""

    forgotten: Forgotten
    kept: Kept
    copies: Result | None
    gap: Result | None
    fid: Result | None
    inception: Result | None
    recall: Result | None

    @property
    def overshot(self) -> bool:
        return self.gap is not None and self.gap.value < OVERSHOT


def find_images(evaluation: Evaluation) -> ImageFindings:
    copies = find_measured(evaluation, "copy_rate")
    gap = find_measured(evaluation, "membership_gap")
    fid = find_measured(evaluation, "fid")
    inception = find_measured(evaluation, "inception_score")
    precision = find_measured(evaluation, "precision")
    recall = find_measured(evaluation, "recall")
    forgotten, kept = heed_guards(
        evaluation,
        judge_forgotten(copies, gap),
        judge_kept(fid, inception, precision, recall),
    )
    return ImageFindings(
        forgotten=forgotten,
        kept=kept,
        copies=copies,
        gap=gap,
        fid=fid,
        inception=inception,
        recall=recall,
    )


def count_copies(copies: Result) -> tuple[int, int]:
    """How many samples of the untouched model are copies, and how many of this one."""
    return round(copies.baseline.value * copies.samples), round(copies.value * copies.samples)


def judge_forgotten(copies: Result | None, gap: Result | None) -> Forgotten:
    """Gone is a picture that no sample copies, where some did, and that is no better known.

    No better known than pictures never seen: a gap of at most NEVER_SEEN. Both must have been
    measured, and one of them must have fallen beyond its intervals.
    """
    if copies is None and gap is None:
        return "unmeasured"
    before, after = (0, 0) if copies is None else count_copies(copies)
    gaps = () if gap is None else (gap.baseline.value, gap.value)
    if before == after == 0 and all(value <= NEVER_SEEN for value in gaps):
        return "not_memorised"
    fewer = copies is not None and copies.high < copies.baseline.low
    fell = gap is not None and gap.high < gap.baseline.low
    if after == 0 and all(value <= NEVER_SEEN for value in gaps[1:]):
        shown = fewer or (fell and before == 0)
        if shown and copies is not None and gap is not None:
            return "gone"
        if shown or before:
            return "unsettled"
    more = copies is not None and copies.low > copies.baseline.high
    return "not_gone" if fewer or fell or more else "unchanged"


def judge_kept(
    fid: Result | None,
    inception: Result | None,
    precision: Result | None = None,
    recall: Result | None = None,
) -> Kept:
    """Call damage what the intervals show, and unsettled what they neither show nor exclude.

    Damage that also takes half of precision or recall is a collapse.
    """
    if fid is None and inception is None:
        return "unmeasured"
    damaged = unclear = False
    if fid is not None:
        worst = FID_TOLERANCE * fid.baseline.high
        damaged, unclear = fid.low > worst, fid.value > worst
    if inception is not None:
        damaged |= inception.high < LEAST_INCEPTION * inception.baseline.low
        unclear |= inception.low < (1 - MARGIN) * inception.baseline.value
    if damaged:
        shares = [share for share in (precision, recall) if share is not None]
        halved = any(share.high < COLLAPSED * share.baseline.low for share in shares)
        return "collapsed" if halved else "damaged"
    if unclear:
        return "unsettled"
    narrower = recall is not None and recall.high < recall.baseline.low
    return "less_varied" if narrower else "kept"
