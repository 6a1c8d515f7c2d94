"""All settings of a run, as `efface settings` lists them."""

from __future__ import annotations

import pytest

from efface.errors import ConfigError
from efface.runs.list_settings import list_settings


def test_one_section_is_part_of_all() -> None:
    everything, training = list_settings(), list_settings("train")
    assert [row for row in everything if row.name.startswith("train.")] == training
    assert "train.steps" in {row.name for row in training}


def test_hyperparameters_are_those_of_the_method_that_is_named() -> None:
    names = {row.name for row in list_settings("method", "salun")}
    assert "method.salient_share" in names and "method.alpha" not in names


def test_a_section_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="'nothing' is unknown: there is method"):
        list_settings("nothing")
