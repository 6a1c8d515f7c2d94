"""What came of attacks, in words."""

from __future__ import annotations

import pytest

from efface.records import Cost, SelfTest
from efface.reporting.attack_words import (
    ATTACK_COLUMNS,
    attack_row,
    tell_attack,
    tell_resistance,
    write_budget,
)
from efface.reporting.resistance import Resistance
from tests.reporting.full_runs import add_line, find_attacks, make_attack


def test_several_failed_self_tests_are_all_named():
    tests = [SelfTest(subject=s, passed=False, text="") for s in ("this", "that")]
    said = tell_attack(find_attacks(make_attack(self_tests=tests)).findings[0])
    assert "positive control on this and that." in said


def test_the_way_with_the_least_budget_is_told():
    attack = add_line(make_attack(half=40), "result_4_images_multi_step", 12)
    add_line(attack, "result_1_images", 20)
    finding = find_attacks(attack).findings[0]
    assert finding.line == "result_4_images_multi_step"
    assert "(sampled in many steps)" in tell_attack(finding)


@pytest.mark.parametrize(
    "budget, text",
    [
        (0, "at once"),
        (9.71153846, "9.7"),
        (9.97, "10"),
        (99.4, "99"),
        (4.999999999999, "5"),
        (12345.6, "12,346"),
        (None, "not reached"),
    ],
)
def test_budgets_are_written_for_a_reader(budget: float | None, text: str):
    assert write_budget(Cost(share=0.5, budget=budget)) == text


def test_all_attacks_that_brought_it_back_are_named():
    found = find_attacks(make_attack("relearning", 3, 45), make_attack("membership", 40, 45))
    said = tell_resistance(found)
    assert said.startswith("Relearning brings half of it back in 3 training steps (retrained ")
    assert "0 of 2 attacks were withstood." in said
    assert said.endswith("Also back: Membership.")


def test_no_attack_is_not_called_resistance():
    none = Resistance()
    assert tell_resistance(none, short=True) == "Whether it comes back was not measured."
    assert tell_resistance(none).endswith("Attack this run with `efface attack`.")


def test_an_attack_is_one_row_with_the_costs_of_all_models():
    found = find_attacks(make_attack("relearning", 3, 45), make_attack("noise_search", None))
    back, withstood = map(attack_row, found.findings)
    assert len(back) == len(withstood) == len(ATTACK_COLUMNS)
    assert back[0] == "relearning" and back[1].splitlines()[0] == "50%"
    assert back[2].splitlines()[0] == "3" and back[-1].startswith("recovered")
    control = make_attack("noise_search", 3)
    control.costs["other_labels"] = control.costs.pop("retrained")
    (row,) = map(attack_row, find_attacks(control).findings)
    assert row[4] == back[4]  # of a model without it, or of what the original was never taught
    assert withstood[2].splitlines()[0] == "not reached" and withstood[-1] == "withstood"
