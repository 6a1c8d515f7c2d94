"""Several learning rates: each is what it is alone, and the best is told among them."""

from __future__ import annotations

import pytest

from efface.attacks.base import Findings
from efface.attacks.costs import Scale, Trial
from efface.metrics.intervals import Estimate
from efface.records import Point

RATES = (1e-4, 1e-2)


@pytest.mark.parametrize("name", ["benign_fine_tuning", "relearning", "concept_inversion"])
def test_every_rate_starts_from_the_same_model(name, tiny_unet, case_of, zero, tiny):
    model = tiny_unet()
    case = case_of(model, model, zero)
    images = {"images": (2,)} if name == "relearning" else {"images": 2}

    def attacked(*rates: float):
        attack = tiny(name, steps=(2,), learning_rates=rates, **images)
        return attack.attack(case, {"result": case.result})["result"]

    both = attacked(*RATES)
    assert [trial.rate for trial in both] == list(RATES)
    for trial in both:
        (alone,) = attacked(trial.rate)
        assert trial.points == alone.points


def make_findings(*halves: float | None) -> Findings:
    """Half of it is back at such a budget, by rate; None: at none."""
    trials = [
        Trial(
            points=[Point(x=0, value=0, low=0, high=0), Point(x=9, value=top, low=0, high=1)],
            rate=rate,
        )
        for rate, top in zip(RATES, [0.0 if h is None else 4.5 / h for h in halves], strict=False)
    ]
    one, none = Estimate(1, 1, 1), Estimate(0, 0, 0)
    scale = Scale(level=one, floor=none)
    return Findings(x_label="steps", trials={"result": trials}, scale=scale, protocol="")


def test_what_came_of_every_rate_is_told(tiny):
    attack = tiny("relearning", learning_rates=RATES)
    assert attack.describe_rates() == "best of 2 learning rates (0.0001, 0.01)"
    findings = make_findings(None, 4.5)
    assert attack.notes(findings) == [
        "result: best of 2 learning rates; half of it back, by rate: 0.0001: never, 0.01: 4.5"
    ]
    assert findings.best["result"].rate == 0.01 and findings.half("result") == 4.5


def test_one_rate_alone_is_no_choice(tiny):
    attack = tiny("relearning", learning_rates=RATES[1:])
    assert attack.describe_rates() == "learning rate 0.01"
    assert attack.notes(make_findings(4.5)) == []
