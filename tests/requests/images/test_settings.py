"""Settings of requests to forget images are bounded where they are read."""

from __future__ import annotations

from typing import Literal, get_origin

import pytest

from efface.errors import ConfigError
from efface.requests.images.request import ForgetImages
from efface.requests.images.settings import ImageSettings
from efface.settings.base import read_settings
from efface.settings.listing import describe


@pytest.mark.parametrize("name", ImageSettings.model_fields)
def test_every_setting_has_a_meaning_and_a_bound(name: str) -> None:
    field = ImageSettings.model_fields[name]
    closed = field.annotation is bool or get_origin(field.annotation) is Literal
    assert describe(ImageSettings)[name] and (field.metadata or closed)


@pytest.mark.parametrize(
    "change", ["samples=9", "draws=0", "likelihood_steps=0", "mean_pool=65", "resize=crop"]
)
def test_a_value_out_of_bounds_is_refused_by_name(change: str) -> None:
    with pytest.raises(ConfigError, match=f"images.{change.partition('=')[0]} is"):
        read_settings("images", ForgetImages.own, method="siss", changes=[f"images.{change}"])
