from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from efface.requests.memorised.settings import LEAST_CONTROLS
from efface.requests.memorised.verdict import (
    MEMORISED,
    NOT_MEMORISED,
    copies_p_value,
    decide,
    p_value,
)


def test_p_values_count_and_are_those_of_fishers_test() -> None:
    assert p_value(3.0, np.array([1.0, 2.0, 3.0, 4.0])) == 3 / 5
    assert p_value(9.0, np.zeros(LEAST_CONTROLS)) * 3 <= 0.05
    _, expected = stats.fisher_exact([[3, 13], [1, 117]], alternative="greater")
    assert copies_p_value(3, 16, 1, 118) == pytest.approx(expected)
    assert decide([0.016, 0.4, 0.9], copies=5) == MEMORISED
    assert decide([0.03, 0.4, 0.9], copies=5) == NOT_MEMORISED
    assert decide([0.001, 0.001], copies=1) == NOT_MEMORISED


def test_prompts_without_a_memorised_image_are_seldom_false_alarms() -> None:
    """Of 2000 draws in which the prompt is one like the controls: at most 5 %."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2000, 3, 1 + LEAST_CONTROLS))
    alarms = [decide([p_value(s[0], s[1:]) for s in run], copies=9) == MEMORISED for run in scores]
    assert 0.02 < np.mean(alarms) < 0.06
