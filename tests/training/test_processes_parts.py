"""The rows of a batch are shared equally, or refused before anything is computed."""

from __future__ import annotations

import pytest

from efface.errors import ConfigError
from efface.methods.sfd import SFD
from efface.training.processes import check_parts
from efface.training.settings import TrainSettings


def test_rows_that_cannot_be_shared_are_named_with_the_parts() -> None:
    settings = TrainSettings(batch_size=8, accumulation=3)
    with pytest.raises(ConfigError) as refused:
        check_parts(SFD(), settings, 3, 1)
    for part in ("train.batch_size", "8", "multiple of 3"):
        assert part in str(refused.value)
    with pytest.raises(ConfigError, match="forget rows.* 2 "):
        check_parts(SFD(), TrainSettings(batch_size=8, accumulation=2), 2, 2)


def test_rows_that_can_be_shared_pass() -> None:
    check_parts(SFD(), TrainSettings(batch_size=8, accumulation=2), 4, 2)
    check_parts(SFD(), TrainSettings(batch_size=8, accumulation=4), 0, 1)


def test_a_shared_pass_is_not_accumulated_over_processes() -> None:
    method = SFD(share_student_pass=True)
    with pytest.raises(ConfigError, match=r"train\.accumulation=1"):
        check_parts(method, TrainSettings(batch_size=8, accumulation=2), 4, 2)
    check_parts(method, TrainSettings(batch_size=8, accumulation=2), 4, 1)
    check_parts(method, TrainSettings(batch_size=8), 4, 2)
