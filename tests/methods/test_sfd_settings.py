"""SFD's hyperparameters: what is refused by name, and what they say of guidance."""

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


def test_what_is_guided_is_declared() -> None:
    assert not any(SFD().guided(name) for name in ("teacher", "fake_score", "student"))
    assert not SFD().guides_teacher
    teacher = SFD(teacher_guidance=1.5)
    assert teacher.guides_teacher and teacher.guided("teacher") and not teacher.guided("fake_score")
    weak = SFD(teacher_guidance=0.5)  # passes twice the rows, and leads to the null condition
    assert weak.guided("teacher") and not weak.guides_teacher
    for name in ("fake_score_guidance", "fake_score_training_guidance"):
        method = SFD(**{name: 2.0})
        assert method.guided("fake_score") and not method.guided("teacher")
        assert not method.guides_teacher
