from __future__ import annotations


def test_an_exchanged_label_is_found_under_its_new_name(digits, case_of, zero, tiny):
    result = tiny("neighbour_leakage", samples=20, sampling_steps=5).run(
        case_of(digits, digits, zero)
    )
    assert all(t.passed for t in result.self_tests), [test.text for test in result.self_tests]
    weak = {p.x: p.value for p in result.curve.lines["weak"]}
    assert max(weak, key=lambda label: weak[label]) == zero.others[0]
    assert "result: no leak" in result.notes
    assert any(note.startswith(f"weak: found under {zero.others[0]}: ") for note in result.notes)


def test_it_has_no_budget_and_the_greatest_leak_counts(digits, case_of, zero, tiny):
    result = tiny("neighbour_leakage", samples=20, sampling_steps=5).run(
        case_of(digits, digits, zero)
    )
    assert [p.x for p in result.curve.lines["result"]] == list(zero.others)
    assert [cost.budget for cost in result.costs["weak"]] == [0, 0]
    assert [cost.budget for cost in result.costs["result"]] == [None, None]
