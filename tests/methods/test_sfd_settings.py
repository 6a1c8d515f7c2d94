"""SFD's hyperparameters: what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from efface.errors import ConfigError
from efface.methods.sfd import SFD


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"sigma_init": 0.0}, "sigma_init"),
        ({"forget_share": 1.5}, "forget_share"),
        ({"fake_score_condition_dropout": 2.0}, "fake_score_condition_dropout"),
        ({"teacher_guidance": -3.0}, "teacher_guidance"),
        ({"alpha": float("nan")}, "alpha"),
    ],
)
def test_hyperparameters_out_of_range_are_refused_by_name(
    given: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValidationError, match=named):
        SFD(**given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"sigma_min": 20.0}, ("sigma_min", "20.0", "sigma_max", "13.0")),
        ({"warmup_sigma_min": 500.0}, ("warmup_sigma_min", "500.0", "warmup_sigma_max")),
        (
            {"share_student_pass": True, "fake_score_condition_dropout": 0.1},
            ("share_student_pass", "0.1", "0.0"),
        ),
    ],
)
def test_hyperparameters_that_contradict_each_other_are_refused_by_name(
    given: dict[str, Any], named: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refused:
        SFD(**given)
    for part in named:
        assert part in str(refused.value)
