"""What a report says of a forgotten memorised image."""

from __future__ import annotations

from efface.requests import words_of
from tests.reporting.prompt_runs import make_memorised_record


def test_the_request_says_how_the_prompt_was_changed_and_what_was_learned_from() -> None:
    record = make_memorised_record("a <b>bag</b>", "a new bag")
    said = words_of(record.request).phrases(record, {}).requested
    assert "40 copies and 60 other samples" in said and "“a new bag”" in said
    assert "changing words" in said and "<b>bag</b>" in said
    record.notes.clear()
    assert "trained on" not in words_of(record.request).phrases(record, {}).requested


def test_all_captions_of_several_requests_are_named() -> None:
    record = make_memorised_record("a bag")
    earlier = [record.request | {"prompt": prompt} for prompt in ("a hat", "a cup")]
    record = record.model_copy(update={"request": record.request | {"earlier": earlier}})
    words = words_of(record.request)
    phrases = words.phrases(record, {})
    every = "the images memorised for “a hat”, “a cup” and “a bag”"
    assert phrases.forgotten == every and phrases.many
    assert f"was to stay forgotten: {every} in all." in phrases.requested
    assert words.anonymous(record) == "images memorised for 3 prompts"
