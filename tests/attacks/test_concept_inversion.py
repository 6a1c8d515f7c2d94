from __future__ import annotations

from efface.attacks.base import Findings
from efface.attacks.concept_inversion import HIDDEN
from efface.attacks.weak import exchanged


def test_it_finds_the_class_in_the_original_digits_and_under_an_exchanged_label(
    digits, case_of, zero, tiny
):
    budget = {"steps": (12, 24), "images": 8, "batch_size": 16, "learning_rates": (0.2,)}
    attack = tiny("concept_inversion", samples=20, sampling_steps=5, **budget)
    case, weak = case_of(digits, digits, zero), exchanged(digits, zero)
    subjects = {line: case.with_weak(weak)[line] for line in ("baseline", "weak")}
    findings = Findings(
        x_label="steps",
        trials=attack.attack(case, subjects),
        scale=attack.scale_of(case),
        protocol="",
        weak=weak,
    )
    tests = attack.self_tests(case, findings)
    assert all(test.passed for test in tests), [test.text for test in tests]
    half = findings.half("baseline")
    assert half is not None and half > 0  # it starts from retained labels
    assert findings.best["baseline"].points[0].value < 0.5


def test_one_step_of_neggrad_is_measured_and_is_no_test(tiny_unet, case_of, zero, tiny):
    model = tiny_unet()
    result = tiny("concept_inversion").run(case_of(model, model, zero))
    assert len(result.curve.lines[HIDDEN]) == 3
    assert not any("NegGrad" in test.text for test in result.self_tests)
