from __future__ import annotations

from collections.abc import Callable

import pytest

from efface.errors import ConfigError
from efface.requests.memorised.detection import FALSE_ALARMS
from efface.requests.memorised.settings import LEAST_CONTROLS, MemorisedSettings


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ("controls=58", "59"),
        ("copy_band=[0.9, 0.8]", "copy_band"),
        ("original_share=1.5", "1"),
        ("undecided=1.0", "below 1"),
        ("control_share=1.0", "below 1"),
        ("images=1", "2"),
        ("tries=0", "1"),
        ("copy_similarity=1.0", "below 1"),
        ("stop_images=0", "1"),
    ],
)
def test_settings_out_of_range_are_refused(
    own_settings: Callable[..., MemorisedSettings], change: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        own_settings(f"memorised.{change}")
    assert change.partition("=")[0] in str(refused.value) and allowed in str(refused.value)


def test_fewer_controls_could_not_show_that_a_prompt_stands_out() -> None:
    assert 3 / (LEAST_CONTROLS + 1) <= FALSE_ALARMS < 3 / LEAST_CONTROLS
