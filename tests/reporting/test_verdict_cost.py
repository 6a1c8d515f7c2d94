"""What a run cost: network passes per image, beside the original model's."""

from __future__ import annotations

from typing import Any

import pytest

from efface.records import Evaluation
from efface.reporting.verdict import passes_per_image, tell_cost
from tests.reporting.conftest import make_record
from tests.reporting.image_runs import make_image_record

NOTHING = Evaluation(results=[])


@pytest.mark.parametrize("guidance, passes", [(1.0, 50), (2.0, 100)])
def test_guidance_takes_every_pass_twice(guidance: float, passes: int):
    settings = {"evaluate": {"baseline_steps": 50, "guidance": guidance}}
    assert passes_per_image(make_record(settings=settings), NOTHING) == (passes, 1)
    assert passes_per_image(make_image_record(settings=settings), NOTHING) == (
        50,
        50,
    )  # has no conditions


def test_an_image_costs_what_it_cost_before_however_many_steps_were_measured():
    settings = {"evaluate": {"baseline_steps": 25}}
    record = make_image_record(settings=settings, sampler={"text": "50 DDIM steps", "passes": 50})
    assert "25 network passes per image (original model: 25)" in tell_cost(record, NOTHING)[1]


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"request": {"kind": "train"}, "sampler": {"passes": 50}}, (None, 50)),
        ({"settings": {}, "sampler": {}}, (None, None)),
    ],
)
def test_what_is_not_recorded_is_not_made_up(changes: dict[str, Any], expected: Any):
    record = make_record(**changes)
    assert passes_per_image(record, NOTHING) == expected
    assert "not recorded" in tell_cost(record, NOTHING)[0][1]


@pytest.mark.parametrize(("chosen", "passes"), [(1.0, 50), (1.15, 100)])
def test_without_a_set_guidance_the_chosen_one_counts(chosen: float, passes: int):
    settings = make_record().settings
    settings["evaluate"] |= {"guidance": None}
    evaluation = Evaluation(results=[], guidance=chosen)
    assert passes_per_image(make_record(settings=settings), evaluation)[0] == passes
