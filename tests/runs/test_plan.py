"""What a run is set to: requests about prompts have recipes that ship."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import efface
from efface.cli import app
from efface.diffusion.model_folder import inspect_model
from efface.errors import ConfigError, RequestError
from efface.methods.sfd import SFD
from efface.records import read_record
from efface.runs.plan import choose_settings, make_plan
from efface.settings.base import Settings

RECIPES = Path(__file__).parents[2] / "recipes"
CONCEPT, MEMORISED = RECIPES / "concept-sfd.toml", RECIPES / "memorised-siss.toml"
BAG = efface.ForgetConcept(concept="bag", replacement="coat")
CAPTION = efface.ForgetMemorised(prompt="a red bag")
Pipelines = Callable[[str], Path]


@pytest.fixture
def choose(pipelines: Pipelines) -> Callable[..., Settings]:
    info = inspect_model(pipelines("sd"))

    def settings(request: object, *changes: str, method=None, recipe=None) -> Settings:
        return choose_settings(request, info, method, recipe, changes)  # pyright: ignore

    return settings


@pytest.mark.parametrize(("request_", "recipe"), [(BAG, CONCEPT), (CAPTION, MEMORISED)])
def test_a_request_about_prompts_has_a_recipe_of_its_own(choose, request_, recipe, tmp_path):
    found = choose(request_)
    assert found == choose(request_, recipe=recipe)
    assert found == choose(request_, method=found.method_name)
    changed = choose(request_, "train.steps=7").train
    assert changed.steps == 7 and changed.learning_rate == found.train.learning_rate
    given = tmp_path / "own.toml"
    given.write_text(f"[method]\nname = '{found.method_name}'\n[train]\nsteps = 3\n")
    assert choose(request_, recipe=given).train.learning_rate != found.train.learning_rate


def test_another_method_has_its_own_settings(choose):
    erasing = choose(CAPTION, method="erasediff_siss")
    assert erasing == choose(CAPTION, "method.name=erasediff_siss")
    assert erasing.train.accumulation == 1


def test_a_method_for_other_requests_is_refused(choose):
    with pytest.raises(ConfigError, match="'siss' does not work for .* kind 'concept'"):
        choose(BAG, method="siss")
    with pytest.raises(ConfigError, match="'sfd' does not work for .* kind 'memorised'"):
        choose(CAPTION, method="sfd")


@pytest.mark.parametrize(
    "command", [["distil"], ["forget", "concept", "--concept", "bag", "--replace", "coat"]]
)
def test_the_command_without_a_recipe_takes_the_shipped_one(
    command: list[str], pipelines: Pipelines, tmp_path: Path
) -> None:
    """Not the settings of the paper's CIFAR-10 runs, which are the method's own."""
    (tmp_path / "prompts.txt").write_text("a cat\na dog")
    changes = ["train.steps=1", "train.batch_size=2", "train.checkpoint_every=1"]
    changes += ["train.ignore_memory=true"]
    if command[0] == "forget":
        changes += ["concept.templates=['a {}']", "concept.subjects=['cat']"]
    quick = [part for change in changes for part in ("--set", change)]
    out, retained = tmp_path / "out", ["--retain-prompts", str(tmp_path / "prompts.txt")]
    given = [*command, str(pipelines("sd")), "--out", str(out), "--no-evaluate", *retained, *quick]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    settings = read_record(out).settings
    assert settings["method"]["alpha"] == 1.0 != SFD().alpha
    assert settings["method"]["teacher_guidance"] == 2.0
    assert settings["train"]["mixed_precision"] == "bf16"


def test_a_class_is_forgotten_with_the_methods_own_settings(tiny_model: Path) -> None:
    zero = efface.ForgetClass(labels=(0,))
    found = choose_settings(zero, inspect_model(tiny_model), None, None, [])
    assert found.method == SFD() and found.train.steps == 50_000


def test_a_plan_holds_all_that_a_run_needs_and_leaves_the_random_state(tiny_model: Path) -> None:
    state = torch.random.get_rng_state()
    plan = make_plan(tiny_model, efface.ForgetClass(labels=(1,), replacement=(2,)))
    assert torch.equal(state, torch.random.get_rng_state())
    assert plan.info.num_classes and plan.classifier is not None and plan.start is None
    assert plan.settings.method_name == "sfd" and plan.info.folder in plan.sources


def test_a_result_stands_for_its_method(tiny_model: Path) -> None:
    request = efface.ForgetClass(labels=(1,), replacement=(2,))
    for result, method in (("one-step", "sfd"), ("same-sampler", "redirection"), (None, "sfd")):
        assert make_plan(tiny_model, request, result=result).settings.method_name == method
    with pytest.raises(RequestError, match="give one of them"):
        make_plan(tiny_model, request, result="one-step", method="sfd")
    with pytest.raises(RequestError, match="there is one-step or same-sampler"):
        make_plan(tiny_model, request, result="two-step")
    images = efface.ForgetImages(images="zoo:symbol")
    with pytest.raises(RequestError, match="there is nothing"):
        make_plan(tiny_model, images, result="one-step")


def test_a_model_that_keeps_its_sampler_is_delivered_as_it_came(
    tiny_model: Path, tmp_path: Path
) -> None:
    small = ("train.steps=2", "train.batch_size=4", "train.ignore_memory=true")
    request = efface.ForgetClass(labels=(1, 3))  # of any retained label each
    run = efface.forget(
        tiny_model, request, tmp_path / "run", result="same-sampler", changes=small, measure=False
    )
    assert read_record(run).sampler["passes"] == 50
    given, made = (
        json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        for folder in (tiny_model, run / "pipeline")
    )
    assert {k: v for k, v in made.items() if k in given} == given
