"""Recipes and --set: what goes first, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from efface.errors import ConfigError
from efface.methods.sfd import SFD
from efface.settings.reading import EvaluateConfig, Settings, read_settings

ROOT = Path(__file__).parents[2]
RECIPES = [*sorted((ROOT / "recipes").glob("*.toml")), *sorted((ROOT / "src").rglob("*.toml"))]


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(
        "[method]\nname = 'sfd'\nalpha = 1.0\n"
        "[train]\nsteps = 10\nbatch_size = 4\n"
        "[network]\nchannels = [8, 16]\n"
        "[expected]\nfid = 3\n"
    )
    return path


def test_defaults_are_the_methods_own():
    settings = read_settings()
    assert (settings.method_name, settings.method) == ("sfd", SFD())
    # Published: DDPM/configs of SFD, Adam with beta1 = 0, learning rate 1e-5, 50 000 steps.
    train = settings.train
    assert (train.beta1, train.learning_rate, train.steps) == (0.0, 1e-5, 50_000)
    assert (train.clip_value, train.clip_norm) == (1.0, None)
    assert read_settings("denoising").train.beta1 == 0.9


def test_set_goes_before_recipe_before_method_before_defaults(recipe):
    settings = read_settings(None, recipe, ["train.steps=20", "train.weight_decay=0.5"])
    assert settings.train.steps == 20
    assert settings.train.batch_size == 4
    assert settings.train.learning_rate == 1e-5
    assert settings.train.weight_decay == 0.5
    assert settings.train.log_every == 10
    assert settings.method == SFD(alpha=1.0)
    assert settings.network.channels == (8, 16)
    again = read_settings(None, recipe, ["train.beta1=0.5"])
    assert again.train.beta1 == 0.5  # also over the method's own


def test_the_last_of_two_changes_counts():
    assert read_settings(changes=["train.steps=1", "train.steps=2"]).train.steps == 2


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("train.clip_value=none", None),
        ("train.learning_rate=1", 1.0),
        ("train.learning_rate=2e-4", 2e-4),
        ("train.steps = 7", 7),
        ("data.source=2020-01-01", "2020-01-01"),
        ("train.compile=true", True),
        ("data.source=../images of cats/a=b.parquet", "../images of cats/a=b.parquet"),
        ('data.source="digits"', "digits"),
        ("data.held_out=none", None),
        ("network.channels=[8, 16, 24]", (8, 16, 24)),
        ("network.attention=[true, false, true]", (True, False, True)),
        ("method.input_scale=published", "published"),
    ],
)
def test_changes_are_read_as_toml_or_as_text(change, value):
    settings = read_settings(changes=[change])
    section, _, rest = change.partition(".")
    name = rest.partition("=")[0].strip()
    found = getattr(getattr(settings, section), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("train.step=5", r"train.step is unknown.*Did you mean train.steps\?"),
        ("method.alfa=1", r"method.alfa is unknown.*Did you mean method.alpha\?"),
        ("train.qqqqqq=5", r"train.qqqqqq is unknown: there is steps, batch_size"),
        ("trian.steps=5", r"section 'trian' with --set is unknown: there is method, train"),
        ("expected.fid=5", r"section 'expected' with --set is unknown"),
        ("train.steps", r"--set 'train.steps' is not understood: write SECTION.NAME=VALUE"),
        ("steps=5", r"--set 'steps=5' is not understood"),
        ("train.=5", r"--set 'train.=5' is not understood"),
        ("=5", r"--set '=5' is not understood"),
        ("", r"--set '' is not understood"),
        ("train.steps=many", r"train.steps is 'many': input should be a valid integer"),
        ("train.steps=", r"train.steps is ''"),
        ('train.steps="5"', r"train.steps is '5': input should be a valid integer"),
        ("train.steps=5.0", r"train.steps is 5.0: input should be a valid integer"),
        ("train.steps=true", r"train.steps is True: input should be a valid integer"),
        ("train.steps=none", r"train.steps is None: input should be a valid integer"),
        (
            "train.learning_rate=true",
            r"train.learning_rate is True: input should be a valid number",
        ),
        (
            "train.learning_rate=fast",
            r"train.learning_rate is 'fast': input should be a valid number",
        ),
        ("train.learning_rate=nan", r"train.learning_rate is nan: give a finite number"),
        ("method.alpha=inf", r"method.alpha is inf: give a finite number"),
        ("train.compile=1", r"train.compile is 1: input should be a valid boolean"),
        ("data.source=5", r"data.source is 5: input should be a valid string"),
        ("network.channels=8", r"network.channels is 8: input should be a valid"),
        ("network.channels=[8, 'x']", r"network.channels.1 is 'x'"),
        ("network.attention=[1, 0]", r"network.attention.0 is 1"),
        (
            "network.prediction=flow",
            r"network.prediction is 'flow': input should be 'epsilon', 'sample' or",
        ),
        ("train.steps=2020-01-01", r"train.steps is '2020-01-01': input should be a valid int"),
        ("method.name=5", r"method.name is 5: give the name of a method"),
        ("method.name=nothing", r"method 'nothing' is unknown: there is denoising, "),
        ("train.steps=0", r"train.steps is 0: give a number above 0"),
        ("evaluate.forget_samples=0", r"evaluate.forget_samples is 0"),
        ("evaluate.guidance=-4", r"evaluate.guidance is -4"),
        ("evaluate.seed=-5", r"evaluate.seed is -5"),
    ],
)
def test_wrong_settings_are_refused_by_name(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_settings(changes=[change])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[train]\nsteps = 'many'", "train.steps is 'many'"),
        ("[train]\nstep = 5", "Did you mean train.steps"),
        ("[trian]\nsteps = 5", "section 'trian' in .*recipe.toml is unknown"),
        ("train = 5", "train in .*recipe.toml is no table: write .train."),
        ("[train\nsteps = 5", "recipe.toml is no readable TOML"),
        ("[train]\nsteps = 2020-01-01", "train.steps is '2020-01-01': input should be a valid int"),
        ("[method]\nname = 5", "method.name is 5"),
        ("[method]\nname = 'sfd'\nsteps = 5", "method.steps is unknown"),
    ],
)
def test_wrong_recipes_are_refused_by_name(tmp_path, text, sentence):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_settings(None, path)


def test_recipes_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no recipe at .*nothing.toml"):
        read_settings(None, tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match=f"{tmp_path} is no readable TOML"):
        read_settings(None, tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="binary.toml is no readable TOML"):
        read_settings(None, tmp_path / "binary.toml")


def test_a_recipe_of_another_method_is_refused(recipe):
    with pytest.raises(
        ConfigError, match="recipe is for method 'sfd' but 'denoising' was asked for"
    ):
        read_settings("denoising", recipe)
    assert read_settings("sfd", recipe).method_name == "sfd"


def as_changes(settings: Settings) -> list[str]:
    """Settings, as JSON and back as --set."""
    sections = json.loads(json.dumps(settings.to_json(), allow_nan=False))
    return [
        f"{section}.{name}={'none' if value is None else as_toml(value)}"
        for section, content in sections.items()
        for name, value in content.items()
    ]


def as_toml(value: Any) -> str:
    """JSON is TOML but for its tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {as_toml(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize("method", ["sfd", "denoising"])
def test_settings_come_back_from_their_json(method):
    changed = ["train.clip_norm=0.5", "network.channels=[8, 24]", "data.without_labels=[1, 2]"]
    settings = read_settings(method, None, changed)
    assert read_settings(changes=as_changes(settings)) == settings
    assert settings.to_json()["method"]["name"] == method


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_for_its_method(recipe):
    settings = read_settings(None, recipe)
    assert f'name = "{settings.method_name}"' in recipe.read_text()
    assert read_settings(settings.method_name, recipe) == settings
    assert read_settings(changes=as_changes(settings)) == settings


def test_there_are_recipes():
    assert len(RECIPES) >= 3


def test_evaluation_needs_samples():
    with pytest.raises(ConfigError, match="evaluate.batch_size is 0: give a number above 0"):
        EvaluateConfig(batch_size=0)
