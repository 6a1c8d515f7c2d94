"""Every builder's setting has a range and a sentence, and what is out of range is refused."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from efface.errors import ConfigError
from efface.settings.listing import bounds_of, describe
from efface.settings.reading import build, fields_of
from efface.zoo.build.settings import SECTIONS, read_build_settings

ROOT = Path(__file__).parents[3]
RECIPES = [
    path
    for path in sorted((ROOT / "recipes").glob("*.toml"))
    if 'name = "denoising"' in path.read_text()
]
FIELDS = [
    (section, name, field)
    for section, kind in SECTIONS.items()
    for name, field in fields_of(kind).items()
]
OUTSIDE = {"ge": -1, "gt": 0, "le": 1, "lt": 0}  # what is added to a bound
ONE = 'scenes.memorised=[{caption="x", item="bag", colour="red"}]'
TWO = 'scenes.memorised=[{caption="x", item="bag", colour="red"}, '
TWO += '{caption="y", item="bag", colour="red"}]'


def number_in(field: FieldInfo) -> tuple[FieldInfo, bool] | None:
    """A number, or that of which a list has any number; whether it is a list."""
    parts = typing.get_args(field.annotation)
    if typing.get_origin(field.annotation) is tuple and parts[0] not in (bool, str):
        item = FieldInfo.from_annotation(parts[0])
        return (item, True) if item.annotation in (int, float) else None
    return (field, False) if field.annotation in (int, float) else None


NUMBERS = [
    (section, name, *found) for section, name, field in FIELDS if (found := number_in(field))
]
BOUNDS = [
    (f"{section}.{name}", sign, bound, listed)
    for section, name, number, listed in NUMBERS
    for sign, bound in bounds_of(number).items()
]


@pytest.mark.parametrize(("section", "name", "number", "listed"), NUMBERS)
def test_a_number_has_a_range_on_both_sides(section, name, number, listed):
    del section, name, listed
    signs = set(bounds_of(number))
    assert signs & {"ge", "gt"} and signs & {"le", "lt"}


@pytest.mark.parametrize(("key", "sign", "bound", "listed"), BOUNDS)
def test_a_number_out_of_range_is_refused(key, sign, bound, listed):
    outside: Any = bound + OUTSIDE[sign]
    section, _, name = key.partition(".")
    values = {name: [outside] if listed else outside}
    sentence = rf"{re.escape(key)}.* is {outside}: give a number .*{re.escape(str(bound))}\."
    with pytest.raises(ConfigError, match=sentence):
        build(SECTIONS[section], values, section)


@pytest.mark.parametrize(("section", "name", "field"), FIELDS)
def test_a_setting_is_described_in_one_sentence(section, name, field):
    del field
    text = describe(SECTIONS[section])[name]
    assert text.endswith(".") and ". " not in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("network.channels=[]", "network.channels"),
        (f"network.channels={[8] * 9}", "network.channels"),
        ("network.channels=[16]", "network.attention has 2 entries.*network.channels 1"),
        ("network.norm_groups=5", "network.channels has 16.*network.norm_groups"),
        ("autoencoder.norm_groups=5", "autoencoder.channels has 16.*autoencoder.norm_groups"),
        (f"autoencoder.channels={[8] * 7}", "autoencoder.channels"),
        ("scenes.items=['bag']", "scenes.labels has 7 entries and scenes.items 1"),
        (ONE.replace("bag", "hat"), "scenes.memorised.*'hat'.*scenes.items"),
        (ONE.replace("red", "purple"), "scenes.memorised.0.colour is 'purple'.*red"),
        ("train.steps=0", "train.steps"),
        ("train.stepps=1", "train.stepps is unknown.*train.steps"),
        ("method.condition_dropout=2", "method.condition_dropout"),
        ("method.name=siss", "method.name is 'siss'.*'denoising'"),
        ("evaluate.samples=1", "section 'evaluate'.*unknown"),
    ],
)
def test_what_a_recipe_cannot_be_is_refused(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_build_settings(None, [change])


def test_shares_of_memorised_scenes_that_leave_no_room_or_repeat_nothing_are_refused():
    with pytest.raises(ConfigError, match="add up to 1 or more.*scenes.memorised_share"):
        read_build_settings(None, [TWO, "scenes.memorised_share=0.5"])
    with pytest.raises(ConfigError, match="scenes.memorised_share is 0.001.*20 scenes"):
        read_build_settings(None, [ONE, "scenes.images=20", "scenes.memorised_share=0.001"])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_models_are_read(recipe):
    settings = read_build_settings(recipe)
    assert settings.train.steps >= 1000
    if "scenes" in recipe.stem:
        assert len(settings.scenes.memorised) == 10 and settings.scenes.repeats == 400
    else:
        assert settings.scenes.images == 0


def test_changes_come_after_the_recipe_and_the_recipe_after_defaults(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[train]\nsteps = 7\nseed = 4\n[network]\nprediction = "sample"\n')
    settings = read_build_settings(recipe, ["train.steps=9"])
    assert (settings.train.steps, settings.train.seed) == (9, 4)
    assert settings.train.learning_rate_schedule == "cosine"  # of ordinary training
    assert settings.network.prediction == "sample" and settings.network.layers == 1


def test_a_record_holds_every_section():
    content = read_build_settings(None, ["judge.seed=2"]).to_json()
    assert set(content) == set(SECTIONS)
    assert content["method"]["name"] == "denoising"
    assert content["judge"]["seed"] == 2
