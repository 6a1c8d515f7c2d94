"""Ranges of the settings of prompts."""

from __future__ import annotations

from typing import Any

import pytest

from efface.errors import ConfigError
from efface.requests.concept.settings import ConceptSettings
from efface.settings.reading import build


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"templates": ["a cat"]}, r"template 'a cat' must hold \{\} once"),
        ({"subjects": ["cat", " "]}, "concept.subjects holds an empty text"),
        ({"people": []}, "concept.people"),
        ({"templates": ["{}"] * 500, "subjects": ["a"] * 500}, "make 250500 prompts: .*200000"),
        ({"retain": 0}, "concept.retain is 0: .*at least 1"),
        ({"gibberish": 0.95}, "concept.gibberish is 0.95: .*at most 0.9"),
        ({"gibberish_guidance": 1.0}, "concept.gibberish_guidance is 1.0: .*above 1"),
        ({"forget_guidance": 0.5}, "concept.forget_guidance is 0.5: .*above 1"),
        ({"interpolation": 1.0}, "concept.interpolation is 1.0: .*below 1"),
        ({"interpolation": 0.5, "interpolation_null": 2.0}, "interpolation_null is 2.0: .*most 1"),
        ({"interpolation_null": 0.5}, "set concept.interpolation too"),
        ({"group_samples": 0}, "concept.group_samples is 0: .*at least 10"),
    ],
)
def test_values_out_of_range_or_of_no_effect_are_refused(
    values: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        build(ConceptSettings, values, "concept")
