"""Whether it comes back: by what attacks cost, beside a retrained model."""

from __future__ import annotations

import pytest

from efface.records import AttackResult, Cost, SelfTest
from efface.reporting import judge_run
from efface.reporting.attack_words import ATTACKS, tell_attack, tell_resistance, write_cost
from efface.reporting.recorded_curves import name_model
from efface.reporting.resistance import (
    Resistance,
    find_recovered,
    find_resistance,
    has_budget,
)
from tests.reporting.conftest import make_evaluation, make_record
from tests.reporting.full_runs import make_attack, make_attacks, make_costs, make_points


def find(*results: AttackResult) -> Resistance:
    return find_resistance(make_record(), make_attacks(*results), forgets=True)


@pytest.mark.parametrize(
    "half, never, state",
    [
        (None, 40, "resists"),
        (None, None, "resists"),
        (40, 45, "like_new"),
        (20, 40, "like_new"),
        (19, 40, "faster"),
        (40, None, "faster"),
        (0, 40, "faster"),
    ],
)
def test_the_cost_is_judged_beside_a_model_that_never_knew_it(half, never, state):
    assert find(make_attack(half=half, never=never)).state == state


def test_without_such_a_model_it_just_comes_back():
    attack = make_attack(half=40)
    del attack.costs["retrained"]
    found = find(attack)
    assert found.state == "came_back"
    assert tell_attack(found.findings[0]) == (
        "Half of it came back after 40 training steps with 16 images."
    )


def test_the_attack_that_did_best_decides():
    found = find(make_attack("relearn", 40, 45), make_attack("latent_search", None, None))
    assert (found.state, found.withstood, len(found.valid)) == ("like_new", 1, 2)
    assert found.worst is not None and found.worst.result.attack == "relearn"
    said = tell_resistance(found)
    assert said.startswith("1 of 2 attacks were withstood. Relearning: half of it came")
    assert "about as fast as in a retrained model (45 training steps" in said


def test_a_failed_control_counts_for_nothing_and_says_why():
    found = find(make_attack(half=None, passed=False))
    assert (found.state, found.worst, found.valid) == ("inconclusive", None, ())
    said = tell_attack(found.findings[0])
    assert said.startswith("Inconclusive: the attack failed its positive control on")
    assert "every attack failed" in tell_resistance(found)
    mixed = find(make_attack(half=None, passed=False), make_attack("relearn", None))
    assert mixed.state == "resists"
    assert "One more is inconclusive and not counted." in tell_resistance(mixed)


def test_an_attack_that_failed_its_control_and_succeeded_counts_for_nothing_either():
    assert find(make_attack(half=1, passed=False)).state == "inconclusive"


def test_an_attack_without_controls_counts():
    assert find(make_attack(half=None, self_tests=[])).state == "resists"


@pytest.mark.parametrize(
    "level, floor, last, came",
    [
        (0.9, 0.1, 0.4, "withstood"),
        (0.9, 0.1, 0.6, "came_back"),
        (0.1, 0.9, 0.4, "came_back"),  # a loss: it falls where the thing is back
        (0.1, 0.9, 0.6, "withstood"),
        (0.5, 0.5, 0.6, "unclear"),
    ],
)
def test_an_attack_without_costs_is_judged_by_how_far_it_got(level, floor, last, came):
    attack = make_attack("neighbour_leak", costs={}, level=level, floor=floor)
    attack.curve.lines = {"result": make_points({0: floor, 1: last})}
    found = find(attack)
    assert found.findings[0].came == came and not has_budget(attack)
    assert ("was found" in tell_attack(found.findings[0])) == (came == "came_back")
    if came == "unclear":
        assert find_recovered(attack, "result") is None


def test_attacks_on_other_weights_say_nothing_of_this_run():
    attacks = make_attacks(make_attack(half=None), output={"unet/model.safetensors": "00" * 32})
    found = find_resistance(make_record(), attacks, forgets=True)
    assert (found.state, found.findings) == ("stale", ())
    assert "on other weights" in tell_resistance(found)


def test_where_nothing_was_forgotten_nothing_can_come_back():
    assert find_resistance(make_record(), None, forgets=False).state == "not_asked"


def test_no_attack_is_not_called_resistance():
    verdict = judge_run(make_record(), make_evaluation())
    card = verdict.cards[2]
    assert (card.title, card.value, card.kind, card.words) == (
        "Resists", "–", "warn", "not measured",
    )  # fmt: skip
    assert "whether it comes back is not known" in verdict.told["Resist"]


def test_the_card_names_the_attack_that_did_best_and_what_it_took():
    attacks = make_attacks(make_attack("relearn", 3, 45), make_attack("latent_search", None, None))
    verdict = judge_run(make_record(), make_evaluation(), attacks=attacks)
    card = verdict.cards[2]
    assert (card.value, card.interval, card.kind) == ("1 of 2", "Relearning", "bad")
    assert card.before == "half of it back: 3 training steps with 16 images"
    assert card.note == "retrained model: 45 training steps with 16 images"
    assert verdict.resistance.state == "faster"


def test_every_attack_of_the_field_has_words():
    for name in ("relearn", "benign_finetune", "condition_inversion", "latent_search",
                 "denoise_from_noisy", "neighbour_leak", "membership"):  # fmt: skip
        assert all(ATTACKS[name])


def test_several_failed_self_tests_are_all_named():
    tests = [SelfTest(subject=s, passed=False, text="") for s in ("this", "that")]
    said = tell_attack(find(make_attack(self_tests=tests)).findings[0])
    assert "positive control on this and that." in said


def add_line(attack: AttackResult, name: str, half: float | None) -> AttackResult:
    attack.curve.lines[name] = make_points({0: 0.0, 10: 0.5})
    attack.costs[name] = make_costs(half, None)
    return attack


def test_one_way_that_brings_it_back_is_enough():
    attack = add_line(make_attack(half=None, never=None), "result_multi_step", 9.43)
    del attack.costs["retrained"]
    found = find(attack)
    assert (found.state, found.withstood) == ("came_back", 0)
    assert tell_attack(found.findings[0]) == (
        "Half of it came back after 9.43 training steps (sampled in many steps)."
    )


def test_the_way_with_the_least_budget_is_told():
    attack = add_line(make_attack(half=40), "result_4_images_multi_step", 12)
    add_line(attack, "result_1_images", 20)
    finding = find(attack).findings[0]
    assert finding.line == "result_4_images_multi_step"
    assert "(sampled in many steps)" in tell_attack(finding)


def test_a_way_is_compared_with_the_same_way_of_a_model_that_never_knew_it():
    attack = add_line(make_attack(half=None, never=None), "result_1_images_multi_step", 10)
    assert find(add_line(attack, "retrained_1_images", 12)).state == "like_new"
    assert find(add_line(attack, "retrained_1_images_multi_step", 30)).state == "faster"


@pytest.mark.parametrize(
    "budget, text",
    [
        (0, "at once"),
        (9.71153846, "9.71 steps"),
        (4.999999999999, "5 steps"),
        (12345.6, "12,346 steps"),
        (None, "not reached"),
    ],
)
def test_budgets_are_written_for_a_reader(budget: float | None, text: str):
    assert write_cost(Cost(share=0.5, budget=budget), "steps") == text


@pytest.mark.parametrize(
    "line, words",
    [
        ("result", "this model"),
        ("result_multi_step", "this model, sampled in many steps"),
        ("retrained_1_images", "retrained model, with 1 image"),
        ("result_by hand", "this model, by hand"),
        ("results", "results"),
        ("other_labels", "original model, other labels"),
    ],
)
def test_lines_are_named_in_words(line: str, words: str):
    assert name_model(line) == words


def test_all_attacks_that_brought_it_back_are_named():
    found = find(make_attack("relearn", 3, 45), make_attack("membership", 40, 45))
    said = tell_resistance(found)
    assert said.startswith("0 of 2 attacks were withstood.")
    assert said.endswith("Also back: Membership inference.")
