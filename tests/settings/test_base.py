"""Settings of a run: what goes first, what is recorded, and what every number may be."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from efface.attacks import names as attacks
from efface.attacks import resolve as resolve_attack
from efface.errors import ConfigError, RequestError
from efface.methods import names, resolve
from efface.methods.sfd import SFD
from efface.requests import kinds, sections
from efface.requests.concept.settings import ConceptSettings
from efface.settings.base import from_json, sections_of
from efface.settings.listing import bounds_of, list_section
from efface.settings.reading import build, fields_of

ROOT = Path(__file__).parents[2]
RECIPES = [*sorted((ROOT / "recipes").glob("*.toml")), *sorted((ROOT / "src").rglob("*.toml"))]
OF_RUNS = [path for path in RECIPES if "[network]" not in path.read_text()]
SECTIONS = {**sections_of("", None, "sfd"), **sections()}
SECTIONS |= {f"method {name}": resolve(name) for name in names() if name != "sfd"}
SECTIONS |= {f"attack {name}": resolve_attack(name) for name in attacks()}
NUMBERS = [
    (section, name)
    for section, kind in SECTIONS.items()
    for name, field in fields_of(kind).items()
    if re.search(r"\b(int|float)\b", str(field.annotation))
]
WITHOUT_METHOD = [name for name in SECTIONS if not name.startswith(("method", "attack"))]


def test_defaults_are_the_methods_own(read):
    settings = read()
    assert (settings.method_name, settings.method) == ("sfd", SFD())
    # Published: DDPM/configs of SFD, Adam with beta1 = 0, learning rate 1e-5, 50 000 steps.
    train = settings.train
    assert (train.beta1, train.learning_rate, train.steps) == (0.0, 1e-5, 50_000)
    assert (train.clip_value, train.clip_norm) == (1.0, None)
    assert read(kind="images").train.beta1 == 0.95


def test_set_goes_before_recipe_before_method_before_defaults(read, recipe):
    settings = read("train.steps=20", "train.weight_decay=0.5", recipe=recipe)
    assert settings.train.steps == 20
    assert settings.train.batch_size == 4
    assert settings.train.learning_rate == 1e-5
    assert settings.train.weight_decay == 0.5
    assert settings.train.log_every == 10
    assert settings.method == SFD(alpha=1.0)
    assert read("train.beta1=0.5", recipe=recipe).train.beta1 == 0.5  # also over the method's own


def test_a_recipe_serves_several_kinds_of_request(read, recipe):
    assert "concept" not in read(recipe=recipe).to_json()
    assert read(recipe=recipe, kind="concept").of(ConceptSettings).retain == 7
    with pytest.raises(ConfigError, match="'concept'"):
        read("concept.retain=7", recipe=recipe)


def test_a_recipe_of_another_method_is_refused(read, recipe):
    with pytest.raises(ConfigError, match=r"'sfd'.*'siss'"):
        read(method="siss", recipe=recipe)
    assert read(method="sfd", recipe=recipe).method_name == "sfd"


@pytest.mark.parametrize("kind", list(kinds()))
def test_settings_come_back_from_their_json(read, kind):
    settings = read("train.clip_norm=0.5", kind=kind)
    content = json.loads(json.dumps(settings.to_json(), allow_nan=False))
    request = kinds()[kind]
    assert from_json(content, request.section, request.own) == settings
    with pytest.raises(RequestError, match="record.json"):
        from_json(content | {"judge": {}}, request.section, request.own)
    content["train"]["patience"] = 3
    with pytest.raises(RequestError, match="patience"):
        from_json(content, request.section, request.own)


def test_changed_settings_are_checked_again(read):
    settings = read().changed({"train.steps": 3, "evaluate.batch_size": 4})
    assert (settings.train.steps, settings.evaluate.batch_size) == (3, 4)
    with pytest.raises(ConfigError, match="train.steps"):
        settings.changed({"train.steps": 0})


@pytest.mark.parametrize("recipe", OF_RUNS, ids=lambda path: path.stem)
def test_every_recipe_loads_for_its_method(read, recipe):
    text = recipe.read_text()
    section = next(
        (name for name in ("concept", "memorised", "images") if f"[{name}]" in text), None
    )
    about = section or ("images" if 'name = "siss"' in text else "class")
    settings = read(recipe=recipe, kind=about)
    assert f'name = "{settings.method_name}"' in text
    assert kinds()[about].need in settings.method.forgets


def test_there_are_recipes():
    assert len(OF_RUNS) >= 10


@pytest.mark.parametrize(("section", "name"), NUMBERS)
def test_every_number_has_a_range_that_is_kept(section: str, name: str):
    kind = SECTIONS[section]
    field = fields_of(kind)[name]
    default = field.get_default(call_default_factory=True)
    if isinstance(default, tuple):
        wrong: list[Any] = [[-1, -2], [math.nan], []]
    else:
        bounds = bounds_of(field)
        assert {"ge", "gt"} & bounds.keys() and {"le", "lt"} & bounds.keys(), bounds
        low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
        assert low is not None and high is not None
        wrong = [low - 1, high + max(1, abs(high)), -math.inf, math.inf, math.nan, "many"]
        wrong += [bounds[sign] for sign in ("gt", "lt") if sign in bounds]
    for value in wrong:
        whole = isinstance(value, float) and value.is_integer() and "int" in str(field.annotation)
        with pytest.raises(ConfigError) as error:
            build(kind, {name: int(value) if whole else value}, section)
        assert f"{section}.{name}" in str(error.value)


def test_every_setting_is_described():
    for section, kind in SECTIONS.items():
        for row in list_section(section, kind):
            assert row.description.endswith("."), row.name
            assert row.type and row.default, row.name


def test_a_run_has_few_settings():
    assert sum(len(fields_of(SECTIONS[name])) for name in WITHOUT_METHOD) <= 80


@pytest.mark.parametrize("name", WITHOUT_METHOD)
def test_every_setting_is_used_by_a_recipe_a_document_or_a_benchmark(name: str):
    files = [*RECIPES, ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(path.read_text() for path in files)
    text += "\n".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    unused = [
        field
        for field in fields_of(SECTIONS[name])
        if f"{name}.{field}" not in text and f"\n{field} = " not in text
    ]
    assert not unused


@pytest.mark.parametrize("change", ["lora_rank=8", "steps=2", "ema_decay=0.9", "guard_every=1"])
def test_settings_of_the_loop_are_refused_where_nothing_is_trained(read, change):
    name, _, value = change.partition("=")
    sentence = rf"train\.{name} is {value}, and method 'uce' trains nothing: it edits the weights"
    with pytest.raises(ConfigError, match=sentence):
        read(f"train.{change}", kind="concept", method="uce")
    settings = read("train.seed=3", "train.ignore_memory=true", kind="concept", method="uce")
    assert (settings.train.seed, settings.train.steps) == (3, 1)
    section, own = kinds()["concept"].section, kinds()["concept"].own
    assert from_json(settings.to_json(), section, own) == settings
