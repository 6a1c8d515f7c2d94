"""What a run would take, before its request is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from efface.diffusion.model_folder import inspect_model
from efface.errors import ConfigError, ModelError
from efface.memory.estimate import estimate, readable
from efface.requests import kinds, sections
from efface.requests.concept.settings import ConceptSettings
from efface.runs.preflight import preflight
from efface.settings.base import read_settings

Pipelines = Callable[[str], Path]
SMALL = ["train.steps=2", "train.batch_size=4", "method.forget_share=0.5"]
PAIRS = ["train.batch_size=4", "evaluate.batch_size=8", "memorised.images=8"]


def test_the_table_ends_in_what_there_is(tiny_model: Path) -> None:
    rows, shortage = preflight(tiny_model, changes=SMALL)
    names = [name for name, _ in rows]
    assert {"pretrained network", "student", "optimizer", "activations"} <= set(names)
    assert names[-2:] == ["at most", "free on cpu"]
    assert all(size.endswith("B") for _, size in rows)
    assert shortage is None
    assert not {"VAE", "text encoders, until all prompts are encoded"} & set(names)  # it has none


def test_a_text_model_is_to_forget_a_concept_by_its_recipe(pipelines: Pipelines) -> None:
    rows, _ = preflight(pipelines("sd3"), changes=SMALL)
    settings = read_settings(
        "concept",
        ConceptSettings,
        changes=SMALL,
        default_recipe="concept-sfd",
        others=sections(),
    )
    info = inspect_model(pipelines("sd3"))
    expected = estimate(info, settings, kinds()["concept"].expected_amounts(info, settings))
    assert dict(rows)["at most"] == readable(expected.peak(evaluated=True))


def test_a_method_on_images_is_for_a_memorised_one(pipelines: Pipelines) -> None:
    """Or the kind is named; samples and norms before training count."""
    rows, _ = preflight(pipelines("sd"), method="siss", changes=PAIRS)
    more, _ = preflight(pipelines("sd"), method="siss", changes=[*PAIRS, "memorised.samples=2000"])
    before = dict(more)["before it trains"]
    assert dict(rows)["before it trains"] != before == dict(more)["at most"]
    memorised, _ = preflight(pipelines("sd"), kind="memorised", changes=PAIRS)
    assert memorised[:-1] == rows[:-1]


def test_a_recipe_says_what_is_forgotten(pipelines: Pipelines) -> None:
    rows, _ = preflight(pipelines("sd"), recipe="memorised-siss", changes=PAIRS)
    memorised, _ = preflight(pipelines("sd"), kind="memorised", changes=PAIRS)
    assert rows[:-1] == memorised[:-1]


def test_a_kind_that_forgets_nothing_is_named(tiny_model: Path) -> None:
    """Distilling has no forget rows, so that its passes are smaller."""
    rows = [dict(preflight(tiny_model, kind=k, changes=SMALL)[0]) for k in ("distil", "class")]
    assert rows[0]["student"] == rows[1]["student"]
    assert rows[0]["activations"] != rows[1]["activations"]


def test_a_method_with_fewer_networks_takes_less(pipelines: Pipelines) -> None:
    networks = {
        method: dict(preflight(pipelines("sd"), method=method, changes=["train.batch_size=4"])[0])
        for method in ("sfd", "siss")
    }
    assert "fake_score" in networks["sfd"] and "fake_score" not in networks["siss"]


def test_a_shortage_says_what_to_change(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efface.memory.preflight.available_memory", lambda *_: 1000)
    shortage = preflight(tiny_model, changes=SMALL)[1]
    assert shortage is not None and "smaller model" in shortage


def test_another_size_takes_more(pipelines: Pipelines) -> None:
    sizes = [
        dict(preflight(pipelines("flux"), size=size, changes=SMALL)[0])["activations"]
        for size in (16, 32)
    ]
    assert sizes[0] != sizes[1]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"kind": "nothing"}, "concept"),
        ({"kind": "concept"}, "concept"),  # of a model with labels
        ({"method": "siss"}, "siss"),
        ({"method": "nothing"}, "nothing"),
        ({"recipe": "nothing"}, "nothing"),
        ({"changes": ["train.steps=0"]}, "train.steps"),
        ({"changes": ["memorised.images=8"]}, "memorised"),
    ],
)
def test_what_is_not_for_the_model_is_refused(
    given: dict[str, object], named: str, tiny_model: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        preflight(tiny_model, **given)  # pyright: ignore


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        preflight(tmp_path)
