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
