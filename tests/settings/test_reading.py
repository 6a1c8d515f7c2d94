"""Recipes and --set: what is understood, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.errors import ConfigError
from efface.settings.reading import SHIPPED, read_changes, read_recipe, shipped_recipes

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("train.clip_value=none", None),
        ("train.learning_rate=1", 1.0),
        ("train.learning_rate=2e-4", 2e-4),
        ("train.steps = 7", 7),
        ("evaluate.clip=none", None),
        ("evaluate.clip=2020-01-01", "2020-01-01"),
        ("train.compile=true", True),
        ("evaluate.clip=../a folder/a=b", "../a folder/a=b"),
        ('evaluate.clip="owner/name"', "owner/name"),
        ("evaluate.clip=owner/name@sha256:00ff", "owner/name@sha256:00ff"),
        ("method.input_scale=published", "published"),
    ],
)
def test_changes_are_read_as_toml_or_as_text(read, change, value):
    settings = read(change)
    section, _, rest = change.partition(".")
    found = getattr(getattr(settings, section), rest.partition("=")[0].strip())
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("train.step=5", ["train.step", "Did you mean train.steps?"]),
        ("method.alfa=1", ["method.alfa", "Did you mean method.alpha?"]),
        ("train.qqqqqq=5", ["train.qqqqqq", "steps, batch_size"]),
        ("trian.steps=5", ["'trian'", "method, train"]),
        ("images.samples=20", ["'images'", "method, train, evaluate"]),  # of another kind
        ("network.layers=2", ["'network'"]),  # of those that build models
        ("expected.fd=5", ["'expected'"]),
        ("train.steps", ["'train.steps'", "SECTION.NAME=VALUE"]),
        ("steps=5", ["'steps=5'", "SECTION.NAME=VALUE"]),
        ("train.=5", ["'train.=5'"]),
        ("=5", ["'=5'"]),
        ("", ["''"]),
        ("train.steps=many", ["train.steps", "'many'", "integer"]),
        ("train.steps=", ["train.steps", "''"]),
        ('train.steps="5"', ["train.steps", "'5'", "integer"]),
        ("train.steps=5.0", ["train.steps", "5.0", "integer"]),
        ("train.steps=true", ["train.steps", "True", "integer"]),
        ("train.steps=none", ["train.steps", "'none'", "integer"]),
        ("train.learning_rate=true", ["train.learning_rate", "True", "number"]),
        ("train.learning_rate=fast", ["train.learning_rate", "'fast'", "number"]),
        ("train.learning_rate=nan", ["train.learning_rate", "nan", "finite"]),
        ("method.alpha=inf", ["method.alpha", "inf", "finite"]),
        ("train.compile=1", ["train.compile", "1", "boolean"]),
        ("evaluate.clip=5", ["evaluate.clip", "5", "string"]),
        ("evaluate.detector_labels=8", ["evaluate.detector_labels", "8"]),
        ("evaluate.detector_labels=[8, 'x']", ["evaluate.detector_labels.0", "8"]),
        ("evaluate.dtype=float16", ["evaluate.dtype", "'float16'", "'float32'", "'bfloat16'"]),
        ("train.steps=2020-01-01", ["train.steps", "'2020-01-01'", "integer"]),
        ("method.name=5", ["method.name", "5"]),
        ("method.name=nothing", ["'nothing'", "sfd"]),
        ("train.clip_norm=-1", ["train.clip_norm", "-1", "above 0"]),
        ("train.steps=0", ["train.steps", "0", "at least 1"]),
        ("evaluate.forget_samples=9", ["evaluate.forget_samples", "9", "at least 10"]),
        ("evaluate.guidance=-4", ["evaluate.guidance", "-4", "at least 0"]),
        ("evaluate.detector_threshold=1", ["evaluate.detector_threshold", "1", "below 1"]),
    ],
)
def test_wrong_settings_are_refused_by_name(read, change, named):
    with pytest.raises(ConfigError) as error:
        read(change)
    for part in named:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[train]\nsteps = 'many'", ["train.steps", "'many'"]),
        ("[train]\nstep = 5", ["Did you mean train.steps?"]),
        ("[trian]\nsteps = 5", ["'trian'", "recipe.toml"]),
        ("train = 5", ["train in", "recipe.toml", "[train]"]),
        ("[train\nsteps = 5", ["recipe.toml", "TOML"]),
        ("[train]\nsteps = 2020-01-01", ["train.steps", "'2020-01-01'"]),
        ("[method]\nname = 5", ["method.name", "5"]),
        ("[method]\nname = 'sfd'\nsteps = 5", ["method.steps"]),
        ("[images]\nsamples = 1", ["images.samples", "1"]),  # checked though it is not used
        ("[images]\nsample = 20", ["images.sample", "images.samples"]),
    ],
)
def test_wrong_recipes_are_refused_by_name(read, tmp_path, text, named):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read(recipe=path)
    for part in named:
        assert part in str(error.value)


def test_recipes_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nothing.toml", tmp_path, tmp_path / "binary.toml"):
        with pytest.raises(ConfigError) as error:
            read_recipe(path, ["train"])
        assert str(path) in str(error.value)


def test_the_last_of_two_changes_counts():
    changes = read_changes(["train.steps=1", "train.steps=2"], {"train": None})
    assert changes == {"train": {"steps": 2}}


def test_a_recipe_that_ships_is_known_by_its_name(tmp_path, monkeypatch):
    assert {"concept-sfd", "digits-sfd", "memorised-siss"} <= set(shipped_recipes())
    for name in shipped_recipes():
        assert (SHIPPED / f"{name}.toml").read_text() == (RECIPES / f"{name}.toml").read_text()
    monkeypatch.chdir(tmp_path)
    known = ["method", "train", "evaluate", "concept", "distil"]
    assert read_recipe(Path("concept-sfd"), known)["method"]["name"] == "sfd"
    with pytest.raises(ConfigError, match="concept-sfd, digits-posterior"):
        read_recipe(Path("concept-siss"), known)
    Path("concept-sfd").write_text("[train]\nsteps = 3\n")
    assert read_recipe(Path("concept-sfd"), known) == {"train": {"steps": 3}}  # a file goes first
