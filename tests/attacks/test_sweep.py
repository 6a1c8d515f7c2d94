"""Several learning rates: each is recorded, and the best is the attack's result."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("name", ["benign_fine_tuning", "relearning", "concept_inversion"])
def test_the_best_of_all_rates_counts_and_each_is_what_it_is_alone(
    name, tiny_unet, case_of, zero, tiny
):
    model, rates, steps = tiny_unet(), (1e-4, 1e-2), (1, 2)
    budget = {"steps": steps, "samples": 20}

    def attacked(*rates: float):
        changes = {"images": (2,)} if name == "relearning" else {}
        case = case_of(model, tiny_unet(seed=1), zero)
        return tiny(name, learning_rates=rates, **budget, **changes).run(case)

    both, alone = attacked(*rates), [attacked(rate) for rate in rates]
    for line, tried in both.rates.items():
        assert [found.rate for found in tried] == list(rates)
        assert tried == [one.rates[line][0] for one in alone]
        curves = [one.curve.lines[line] for one in alone]
        assert both.curve.lines[line] in curves
        if tried[0].half == tried[1].half is None:
            best = max(range(2), key=lambda i, tried=tried: tried[i].highest)
            assert both.curve.lines[line] == curves[best]
    assert "best of 2 learning rates (0.0001, 0.01)" in both.curve.protocol
    assert "learning rate 0.01" in alone[1].curve.protocol
