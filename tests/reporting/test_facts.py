"""The details that fold away: flat, whole, and images counted rather than repeated."""

from __future__ import annotations

from efface.reporting.facts import fact_sheets, flatten
from tests.reporting.conftest import make_record
from tests.reporting.image_runs import make_image_record


def test_nested_json_becomes_dotted_names():
    assert flatten({"a": {"b": [1, None, True]}, "c": [{"d": "x"}]}) == [
        ("a.b", "1, none, yes"),
        ("c[0].d", "x"),
    ]


def test_images_to_forget_have_a_sheet_of_their_own():
    sheets = {sheet.key: dict(sheet.facts) for sheet in fact_sheets(make_image_record(["a", "b"]))}
    assert sheets["facts-hashes"] == {"1. a": "00" * 32, "2. b": "01" * 32}
    assert sheets["facts-run"]["request.images"] == "takedown/2026-03"


def test_empty_sheets_are_left_out():
    keys = [sheet.key for sheet in fact_sheets(make_record(settings={}, versions={}, hardware={}))]
    assert keys == ["facts-run", "facts-model", "facts-weights"]
