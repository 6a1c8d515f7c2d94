"""What a report says of a forgotten memorised image."""

from __future__ import annotations

import pytest

from efface.metrics.intervals import proportion
from efface.records import Evaluation, Result
from efface.requests import words_of
from tests.reporting.conftest import Triple, make_result
from tests.reporting.prompt_runs import make_memorised_record
from tests.requests.conftest import judge


def share(name: str, after: int, before: int) -> Result:
    now, was = (proportion(count, 16) for count in (after, before))
    intervals = ((v.value, v.low, v.high) for v in (now, was))
    return make_result(name, *intervals, samples=16)


def about(middle: float, reach: float = 0.01) -> Triple:
    return middle, middle - reach, middle + reach


def quality(name: str, own: Triple) -> Result:
    return make_result(name, own, about(0.8))


GONE = share("memorised_share", 0, 14)
SAME, WORSE = quality("clip_iqa", about(0.8)), quality("clip_iqa", about(0.6))
CASES = {
    (0, 14, 0, 6): "gone",
    (0, 2, 0, 0): "inconclusive",
    (3, 14, 0, 6): "not_gone",
    (0, 14, 1, 6): "not_gone",
    (14, 14, 6, 6): "unchanged",
    (0, 0, 0, 0): "not_memorised",
}


@pytest.mark.parametrize("counts", CASES)
def test_gone_is_what_neither_prompt_generates_any_more(counts: tuple[int, int, int, int]) -> None:
    results = [
        share("memorised_share", *counts[:2]), share("memorised_share_modified", *counts[2:])
    ]  # fmt: skip
    found = judge(make_memorised_record(), Evaluation(results=results))
    assert found.forgotten == CASES[counts]
    assert [evidence.clause for evidence in found.forget] == [
        f"it was copied in {counts[0]} of 16 samples of the prompt (original model: {counts[1]})",
        f"it was copied in {counts[2]} of 16 samples of the modified prompt (original model: "
        f"{counts[3]})",
    ]


@pytest.mark.parametrize(
    "results, kept",
    [
        ([SAME], "kept"),
        ([WORSE], "damaged"),
        ([], "unmeasured"),
        ([SAME, make_result("fid", about(2.0), about(1.0))], "damaged"),
    ],
)
def test_samples_of_other_prompts_are_compared_with_the_original_models(
    results: list[Result], kept: str
) -> None:
    found = judge(make_memorised_record(), Evaluation(results=[GONE, *results]))
    assert (found.forgotten, found.kept) == ("gone", kept)


@pytest.mark.parametrize("which", ["prompt_clip_iqa", "prompt_clip_iqa_modified"])
def test_an_image_that_gave_way_to_noise_is_damage(which: str) -> None:
    """Other prompts are as before, and the prompt's own samples are no good photos to a CLIP."""
    for now, reach, kept in (
        (0.6, 0.01, "damaged"),
        (0.76, 0.06, "inconclusive"),
        (0.79, 0.01, "kept"),
        (0.95, 0.01, "kept"),
    ):
        results = [GONE, quality(which, about(now, reach)), SAME]
        found = judge(make_memorised_record(), Evaluation(results=results))
        assert found.kept == kept
        assert which in {evidence.result.metric for evidence in found.retain}


def test_how_its_own_prompts_look_says_nothing_good_of_others() -> None:
    for now, kept in ((0.8, "unmeasured"), (0.6, "damaged")):
        results = [GONE, quality("prompt_clip_iqa", about(now))]
        assert judge(make_memorised_record(), Evaluation(results=results)).kept == kept


def test_the_request_says_how_the_prompt_was_changed_and_what_was_learned_from() -> None:
    record = make_memorised_record("a <b>bag</b>", "a new bag")
    said = words_of(record.request).phrases(record, {}).requested
    assert "40 copies and 60 other samples" in said and "“a new bag”" in said
    assert "changing words" in said and "<b>bag</b>" in said
    record.notes.clear()
    assert "trained on" not in words_of(record.request).phrases(record, {}).requested
