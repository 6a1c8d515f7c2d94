"""Whether it comes back: by what attacks cost, beside a retrained model."""

from __future__ import annotations

import pytest

from efface.records import Cost
from efface.reporting.attack_words import tell_attack, tell_resistance
from efface.reporting.resistance import find_resistance, has_budget
from tests.reporting.conftest import make_record
from tests.reporting.full_runs import (
    add_line,
    find_attacks,
    make_attack,
    make_attacks,
    make_speed,
)


@pytest.mark.parametrize(
    "half, never, came",
    [
        (None, 40, "withstood"),
        (None, None, "withstood"),
        (40, 45, "like_new"),
        (20, 40, "like_new"),
        (19, 40, "faster"),
        (40, None, "faster"),
        (0, 40, "faster"),
    ],
)
def test_the_cost_is_judged_beside_a_model_that_never_knew_it(half, never, came):
    found = find_attacks(make_attack(half=half, never=never))
    assert found.findings[0].came == came
    assert found.answer == ("yes" if came in ("withstood", "like_new") else "no")


def test_without_such_a_model_it_just_comes_back():
    attack = make_attack(half=40, speed=None)
    del attack.costs["retrained"]
    found = find_attacks(attack)
    assert (found.answer, found.findings[0].came) == ("no", "came_back")
    assert tell_attack(found.findings[0]) == "Brings half of it back in 40 training steps."


def test_the_attack_that_did_best_decides():
    found = find_attacks(make_attack("relearning", 40, 45), make_attack("noise_search", None, None))
    assert (found.answer, found.withstood, len(found.valid)) == ("yes", 1, 2)
    assert found.worst is not None and found.worst.result.attack == "relearning"
    said = tell_resistance(found)
    assert said == (
        "It comes back no faster than in a retrained model: relearning brings half of it back in "
        "40 training steps (retrained model: 45). Over 6 seeds it took 0.89 times the budget of a "
        "retrained model (0.89 to 0.89). 1 of 2 attacks were withstood."
    )


def test_a_failed_control_counts_for_nothing_and_says_why():
    found = find_attacks(make_attack(half=None, passed=False))
    assert (found.answer, found.worst, found.valid) == ("inconclusive", None, ())
    said = tell_attack(found.findings[0])
    assert said.startswith("Inconclusive: the attack failed its positive control on")
    assert "every attack failed" in tell_resistance(found)
    mixed = find_attacks(make_attack(half=None, passed=False), make_attack("relearning", None))
    assert mixed.answer == "yes"
    assert "One more is inconclusive and not counted." in tell_resistance(mixed)


def test_an_attack_that_failed_its_control_and_succeeded_counts_for_nothing_either():
    assert find_attacks(make_attack(half=1, passed=False)).answer == "inconclusive"


def test_an_attack_without_controls_counts():
    assert find_attacks(make_attack(half=None, self_tests=[])).answer == "yes"


def test_an_attack_that_measured_no_cost_says_nothing():
    found = find_attacks(make_attack("relearning", costs={}))
    assert (found.answer, found.findings[0].came) == ("inconclusive", "unclear")
    assert tell_attack(found.findings[0]) == "Nothing that can be judged was measured."
    assert not has_budget(found.findings[0].result)


def test_an_attack_that_takes_no_budget_succeeds_at_once_or_never():
    attack = make_attack("partial_denoising", costs={"result": [Cost(share=0.5, budget=0)]})
    attack.speed = None
    assert tell_attack(find_attacks(attack).findings[0]) == "Brings at least half of it back."
    attack.costs["result"][0].budget = None
    assert tell_attack(find_attacks(attack).findings[0]) == (
        "Withstood: less than half of it came back."
    )


def test_attacks_on_other_weights_say_nothing_of_this_run():
    attacks = make_attacks(make_attack(half=None), output={"unet/model.safetensors": "00" * 32})
    found = find_resistance(make_record(), attacks)
    assert (found.answer, found.stale, found.findings) == ("not_measured", True, ())
    assert "on other weights" in tell_resistance(found)


def test_one_way_that_brings_it_back_is_enough():
    attack = add_line(make_attack(half=None, never=None), "result_multi_step", 9.43)
    del attack.costs["retrained"]
    found = find_attacks(attack)
    assert (found.answer, found.withstood) == ("no", 0)
    assert tell_attack(found.findings[0]) == (
        "Brings half of it back in 9.4 training steps (sampled in many steps)."
    )


def test_a_way_is_compared_with_the_same_way_of_a_model_that_never_knew_it():
    attack = add_line(make_attack(half=None, never=None), "result_1_images_multi_step", 10)
    attack = add_line(attack, "retrained_1_images", 12)
    attack.speed = make_speed((10, 12), line="result_1_images_multi_step")
    found = find_attacks(attack)
    assert found.answer == "yes" and found.findings[0].line == "result_1_images_multi_step"
    assert "(retrained model: 12)" in tell_attack(found.findings[0])


def test_the_whole_interval_of_the_ratio_decides():
    """Half of the retrained model's budget is the margin."""
    ends = {"like_new": (22, 60), "faster": (3, 19), "undecided": (15, 60)}
    answers = {"like_new": "yes", "faster": "no", "undecided": "inconclusive"}
    for came, (least, most) in ends.items():
        attack = make_attack(half=20, never=40)
        attack.speed = make_speed((least, 40), (most, 40))
        found = find_attacks(attack)
        assert (found.findings[0].came, found.answer) == (came, answers[came])
        said = tell_resistance(found)
        assert f"({least / 40:.2g} to {most / 40:.2g})" in said and "Over 6 seeds" in said
    assert "whether that is faster is inconclusive" in tell_resistance(found)
    fast = make_attack("benign_fine_tuning", half=2, never=40)
    assert find_attacks(attack, fast).answer == "no"  # another attack is decided


def test_of_attacks_that_did_as_well_the_cheapest_is_named():
    found = find_attacks(
        make_attack("relearning", 9, None), make_attack("benign_fine_tuning", 4, None)
    )
    assert found.worst is not None and found.worst.result.attack == "benign_fine_tuning"
