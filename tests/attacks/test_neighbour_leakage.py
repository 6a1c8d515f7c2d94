from __future__ import annotations

import pytest

from efface.attacks.weak import exchanged
from efface.records import AttackResult


@pytest.fixture(scope="module")
def leaking(digits, case_of, zero, tiny) -> AttackResult:
    """Of a result that has zeros under the label 1."""
    case = case_of(exchanged(digits, zero).denoiser, digits, zero, 5)
    return tiny("neighbour_leakage", samples=20, sampling_steps=5).run(case)


def test_what_is_generated_under_another_label_is_found_there(leaking, zero, values):
    assert [p.x for p in leaking.curve.lines["result"]] == list(zero.others)
    assert values(leaking, "result")[0] > 0.5 > max(values(leaking, "result")[1:])
    (result, baseline) = leaking.notes
    assert result.startswith(f"result: found under {zero.others[0]}: ")
    assert baseline == "baseline: no leak"


def test_it_is_an_evaluation_and_no_attack(leaking):
    assert leaking.is_context and not leaking.costs and not leaking.self_tests
    assert leaking.level > 0.8 and leaking.floor < 0.2
