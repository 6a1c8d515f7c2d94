"""The verdict on a memorised picture: a pure function of the figures."""

from __future__ import annotations

import pytest

from efface.metrics.intervals import proportion
from efface.records import Evaluation, Result, RunRecord, Value
from efface.reporting.memorised_cards import memorised_cards
from efface.reporting.memorised_findings import find_memorised, judge_forgotten, judge_kept
from efface.reporting.memorised_sentences import headline, lead, limits, tell_forgotten, tell_kept
from efface.reporting.resistance import Resistance


def value(estimate) -> Value:
    return Value(value=estimate.value, low=estimate.low, high=estimate.high)


def share(name: str, after: int, before: int) -> Result:
    now, was = value(proportion(after, 16)), value(proportion(before, 16))
    return quality(name, now, was)


def quality(name: str, now: Value, was: Value) -> Result:
    return Result(
        metric=name, value=now.value, low=now.low, high=now.high, unit="share",
        higher_is_better=None, samples=16, seeds=[0, 15], protocol="", baseline=was,
    )  # fmt: skip


def about(middle: float) -> Value:
    return Value(value=middle, low=middle - 0.01, high=middle + 0.01)


def record() -> RunRecord:
    return RunRecord(
        status="finished",
        request={"kind": "memorised", "prompt": "<b>a bag</b>"},
        model={"source": "m"},
        settings={"method": {"name": "siss"}},
        versions={},
        hardware={},
        started="2026-11-22T00:00:00+00:00",
        steps=35,
        notes={"modified_by": "tokens", "modified_prompt": "a new bag", "modified_share": 0.5,
               "copies": 40, "others": 60},
    )  # fmt: skip


CASES = {
    (0, 14, 0, 6): "gone",
    (0, 2, 0, 0): "unsettled",
    (3, 14, 0, 6): "not_gone",
    (0, 14, 1, 6): "not_gone",
    (14, 14, 6, 6): "unchanged",
    (0, 0, 0, 0): "not_memorised",
}


@pytest.mark.parametrize("counts", CASES)
def test_gone_is_what_neither_prompt_draws_any_more(counts: tuple[int, int, int, int]) -> None:
    results = [
        share("memorised_share", *counts[:2]), share("memorised_share_modified", *counts[2:])
    ]  # fmt: skip
    assert judge_forgotten(*results) == CASES[counts]
    evaluation = Evaluation(results=results)
    findings = find_memorised(evaluation)
    said = headline(record(), findings)
    assert said.endswith(".") and f"{counts[1] or 'none'}" in said
    assert tell_forgotten(evaluation, findings)
    cards = memorised_cards(record(), findings, Resistance(state="unmeasured", findings=()))
    assert cards[0].value.startswith(str(counts[0]))
    assert ("leaves room" in " ".join(limits(findings))) == (counts[0] == 0)


def test_what_else_is_drawn_is_compared_with_the_untouched_model() -> None:
    same, worse = (quality("clip_iqa", about(now), about(0.8)) for now in (0.8, 0.6))
    assert judge_kept(same, None) == "kept"
    assert judge_kept(worse, None) == "damaged"
    assert judge_kept(None, None) == "unmeasured"
    assert judge_kept(same, quality("fid", about(2.0), about(1.0))) == "damaged"
    gone = share("memorised_share", 0, 14)
    findings = find_memorised(Evaluation(results=[gone, worse]))
    assert "worse" in headline(record(), findings)
    assert "0.600" in tell_kept(findings)


@pytest.mark.parametrize("which", ["prompt_clip_iqa", "prompt_clip_iqa_modified"])
def test_a_picture_that_gave_way_to_noise_is_damage(which: str) -> None:
    """Other prompts draw as before, and the prompt itself draws what no CLIP calls a good photo."""
    gone, same = share("memorised_share", 0, 14), quality("clip_iqa", about(0.8), about(0.8))
    for now, reach, kept, said in (
        (0.6, 0.01, "damaged", "draws worse than before"),
        (0.76, 0.06, "unsettled", "not settled"),
        (0.79, 0.01, "kept", "No damage was found"),
        (0.95, 0.01, "kept", "No damage was found"),
    ):
        own = quality(which, Value(value=now, low=now - reach, high=now + reach), about(0.8))
        findings = find_memorised(Evaluation(results=[gone, own, same]))
        assert (findings.forgotten, findings.kept) == ("gone", kept)
        assert said in headline(record(), findings)
        told = tell_kept(findings)
        assert f"{now:.3f}" in told and "the prompt" in told.replace("the modified ", "the ")
        assert ("modified" in told) == which.endswith("_modified")


def test_how_its_own_prompts_look_says_nothing_good_of_others() -> None:
    gone = share("memorised_share", 0, 14)
    for now, kept in ((0.8, "unmeasured"), (0.6, "damaged")):
        own = quality("prompt_clip_iqa", about(now), about(0.8))
        assert find_memorised(Evaluation(results=[gone, own])).kept == kept


def test_the_card_of_what_is_kept_shows_what_it_rests_on() -> None:
    own = quality("prompt_clip_iqa", about(0.6), about(0.8))
    same = quality("clip_iqa", about(0.8), about(0.8))
    resistance = Resistance(state="unmeasured", findings=())
    told = "its own prompt: 60.0\u00a0%, before 80.0\u00a0%"
    for results, note in (([same, own], told), ([same], "")):
        findings = find_memorised(Evaluation(results=results))
        assert memorised_cards(record(), findings, resistance)[1].note == note


def test_a_guard_has_the_last_word() -> None:
    gone = share("memorised_share", 0, 14)
    for guard, words in (("no-op", "no-op"), ("collapse", "collapsed")):
        findings = find_memorised(Evaluation(results=[gone], guards=[guard]))
        assert words in headline(record(), findings)


def test_the_lead_says_how_the_prompt_was_changed_and_what_was_learned_from() -> None:
    findings = find_memorised(Evaluation(results=[]))
    said = lead(record(), findings)
    assert "40 copies and 60 other pictures" in said and "a new bag" in said
    assert "changing words" in said and "Nothing was measured" in said
    assert "not known" in headline(record(), findings)
