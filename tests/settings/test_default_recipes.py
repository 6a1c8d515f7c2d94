"""What a run is set to where no recipe is given: requests about prompts have recipes that ship."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from efface.cli import app
from efface.errors import ConfigError
from efface.memory.preflight import preflight
from efface.methods.sfd import SFD
from efface.records import read_record
from efface.requests.base import ForgetMemorised
from efface.runs.forget import forget
from efface.settings.reading import SHIPPED, read_settings, shipped_recipes
from tests.requests.memorised.conftest import WORDS

RECIPES = Path(__file__).parents[2] / "recipes"
CONCEPT, MEMORISED = RECIPES / "concept-sfd.toml", RECIPES / "memorised-siss.toml"
Pipelines = Callable[[str], Path]
QUICK = ["train.steps=1", "train.batch_size=2", "prompts.templates=['a {}']"]
QUICK += ["prompts.subjects=['cat']", "train.checkpoint_every=1"]


@pytest.mark.parametrize(("about", "recipe"), [("concept", CONCEPT), ("memorised", MEMORISED)])
def test_a_request_about_prompts_has_a_recipe_of_its_own(
    about: str, recipe: Path, tmp_path: Path
) -> None:
    found = read_settings(about=[about])
    assert found == read_settings(None, recipe)
    assert found == read_settings(found.method_name, about=[about])
    assert found != read_settings(found.method_name)
    changed = read_settings(None, None, ["train.steps=7"], [about]).train
    assert changed.steps == 7 and changed.learning_rate == found.train.learning_rate
    given = tmp_path / "own.toml"
    given.write_text(f"[method]\nname = '{found.method_name}'\n[train]\nsteps = 3\n")
    assert read_settings(None, given, (), [about]) == read_settings(None, given)


def test_another_method_and_other_requests_have_their_own_settings() -> None:
    erasing = read_settings("erasediff")
    assert read_settings("erasediff", about=["memorised"]) == erasing
    assert read_settings(None, None, ["method.name=erasediff"], ["memorised"]) == erasing
    for about in ("class", "distil", "images"):
        assert read_settings(about=[about]) == read_settings()
    both = ["concept", "memorised"]  # where it is not known what a run will be about
    assert read_settings(about=both).method_name == "sfd"
    assert read_settings("siss", about=both) == read_settings(None, MEMORISED)


def test_a_recipe_that_ships_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"concept-sfd", "digits-sfd", "memorised-siss"} <= set(shipped_recipes())
    for name in shipped_recipes():
        assert (SHIPPED / f"{name}.toml").read_text() == (RECIPES / f"{name}.toml").read_text()
    monkeypatch.chdir(tmp_path)
    assert read_settings(None, Path("concept-sfd")) == read_settings(None, CONCEPT)
    with pytest.raises(ConfigError, match="one that ships with efface: concept-sfd, digits-sfd"):
        read_settings(None, Path("concept-siss"))
    Path("concept-sfd").write_text("[train]\nsteps = 3\n")
    assert read_settings(None, Path("concept-sfd")).train.steps == 3  # a file goes first


@pytest.mark.parametrize(
    "command", [["distil"], ["forget", "concept", "--concept", "bag", "--replace", "coat"]]
)
def test_the_command_without_a_recipe_takes_the_shipped_one(
    command: list[str], pipelines: Pipelines, tmp_path: Path
) -> None:
    """Not the settings of the paper's CIFAR-10 runs, which are the method's own."""
    out, quick = tmp_path / "out", [part for change in QUICK for part in ("--set", change)]
    given = [*command, str(pipelines("sd")), "--out", str(out), "--no-evaluate", *quick]
    told = CliRunner().invoke(app, given)
    assert told.exit_code == 0, told.output
    settings, expected = read_record(out).settings, read_settings(None, CONCEPT, QUICK)
    assert settings == expected.to_json()
    assert settings["method"]["alpha"] == 1.0 != SFD().alpha
    assert settings["method"]["teacher_guidance"] == 2.0
    assert settings["train"]["mixed_precision"] == "bf16"


def test_a_memorised_picture_is_forgotten_with_the_shipped_recipe(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    (tmp_path / "controls.txt").write_text("\n".join(WORDS))
    request = ForgetMemorised(prompt="a red bag", control_prompts=str(tmp_path / "controls.txt"))

    def run(method: str | None, *changes: str) -> None:
        forget(pipelines("sd"), request, tmp_path / "out", method=method, changes=changes)

    for method in (None, "siss"):
        with pytest.raises(ConfigError, match=r"fixed_norm 750 is published for .* are 4x8x8: set"):
            run(method, "train.batch_size=8")
        for own in ("method.fixed_norm=750", "method.rule_name=relative_norm"):
            with pytest.raises(ConfigError, match=r"train.batch_size is 8, which 16 parts"):
                run(method, "train.batch_size=8", own)
        with pytest.raises(ConfigError, match=r"fixed_norm -1.0 is no norm"):
            run(method, "method.fixed_norm=-1.0")
    with pytest.raises(ConfigError, match=r"train.batch_size is 9, which 2 parts"):
        run("erasediff", "train.batch_size=9", "train.accumulation=2")


def test_preflight_looks_at_the_run_that_would_be(pipelines: Pipelines, tiny_model: Path) -> None:
    model = pipelines("sd")

    def rows(*given: object) -> dict[str, str]:
        return {n: size for n, size in preflight(model, *given).rows if n != "free on cpu"}  # pyright: ignore

    assert rows() == rows(None, CONCEPT)
    assert rows("siss") == rows(None, MEMORISED) != rows("siss", None, ["train.accumulation=1"])
    assert "before it trains" in rows("siss") and "before it trains" not in rows()
    labels = preflight(tiny_model).rows[:-1]
    assert labels == preflight(tiny_model, "sfd").rows[:-1]
    assert labels != preflight(tiny_model, None, CONCEPT).rows[:-1]
