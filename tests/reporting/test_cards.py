"""The cards of what comes back and of what it cost: network passes per image."""

from __future__ import annotations

from typing import Any

import pytest

from efface.reporting import judge_run
from efface.reporting.cards import cost_card, passes_per_image, tell_cost
from tests.reporting.conftest import make_evaluation, make_record
from tests.reporting.full_runs import make_attack, make_attacks
from tests.reporting.image_runs import make_image_record


def test_no_attack_is_not_called_resistance():
    verdict = judge_run(make_record(), make_evaluation())
    card = verdict.cards[2]
    assert (card.title, card.value, card.mark) == ("Resists", "–", ("warn", "not measured"))
    assert verdict.told["Resist"] == "Whether it comes back was not measured."


def test_the_card_names_the_attack_that_did_best_and_what_it_took():
    attacks = make_attacks(
        make_attack("relearning", 3, 45), make_attack("noise_search", None, None)
    )
    verdict = judge_run(make_record(), make_evaluation(), attacks=attacks)
    card = verdict.cards[2]
    assert (card.value, card.interval, card.mark[0]) == ("1 of 2", "Relearning", "bad")
    assert card.before == "half of it back: 3 training steps with 16 images"
    assert card.note == "retrained model: 45 training steps with 16 images"
    assert verdict.answers["resist"] == "no"


@pytest.mark.parametrize("guidance, passes", [(1.0, 50), (2.0, 100)])
def test_guidance_takes_every_pass_twice(guidance: float, passes: int):
    settings = {"evaluate": {"baseline_steps": 50, "guidance": guidance}}
    assert passes_per_image(make_record(settings=settings)) == (passes, 1)
    assert passes_per_image(make_image_record(settings=settings)) == (50, 50)  # has no conditions


def test_an_image_costs_what_it_cost_before_however_many_steps_were_measured():
    settings = {"evaluate": {"baseline_steps": 25}}
    record = make_image_record(settings=settings, sampler={"text": "50 DDIM steps", "passes": 50})
    assert "25 network passes per image (original model: 25)" in tell_cost(record)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"request": {"kind": "train"}, "sampler": {"passes": 50}}, (None, 50)),
        ({"settings": {}, "sampler": {}}, (None, None)),
    ],
)
def test_what_is_not_recorded_is_not_made_up(changes: dict[str, Any], expected: Any):
    record = make_record(**changes)
    assert passes_per_image(record) == expected
    assert "not recorded" in cost_card(record).mark[1]
