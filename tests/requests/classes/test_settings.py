"""Settings of requests to forget labels are bounded where they are read."""

from __future__ import annotations

import pytest

from efface.errors import ConfigError
from efface.requests.classes.request import ForgetClass
from efface.requests.classes.settings import ClassSettings
from efface.settings.base import read_settings
from efface.settings.listing import describe


@pytest.mark.parametrize("name", ClassSettings.model_fields)
def test_every_setting_has_a_meaning(name: str) -> None:
    assert describe(ClassSettings)[name]


@pytest.mark.parametrize("value", ["9", "-1", "10000001", "many"])
def test_a_number_out_of_range_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigError, match=r"class\.generate"):
        read_settings(ForgetClass.section, ForgetClass.own, changes=[f"class.generate={value}"])
