from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efface.diffusion.model_folder import inspect_model
from efface.errors import DataError, RequestError
from efface.requests.memorised.request import ForgetMemorised
from efface.settings.base import Settings


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"prompt": "a bag", "modified_prompt": "A  bag"}, "modification"),
        ({"prompt": " ..."}, "the prompt"),
        ({"prompt": "a bag", "modified_prompt": "?"}, "the modified prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": "a bag", "picture": "bag.png"}, "picture"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(words: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        ForgetMemorised(**words)


@pytest.mark.parametrize("field", ["image", "control_prompts"])
def test_files_that_are_not_there_are_refused_before_anything_is_read(field: str) -> None:
    request = ForgetMemorised.model_validate({"prompt": "a bag", field: "nowhere"})
    with pytest.raises(DataError, match="nowhere"):
        request.check_files()


def test_a_model_without_prompts_is_refused(
    tiny_model: Path, make_settings: Callable[..., Settings]
) -> None:
    model = inspect_model(tiny_model)
    assert not ForgetMemorised.suits(model)
    with pytest.raises(RequestError, match="takes no prompts"):
        ForgetMemorised(prompt="a bag").check(model, make_settings())


def test_the_recipe_that_ships_is_the_default(
    pipelines: Callable[[str], Path], make_settings: Callable[..., Settings]
) -> None:
    recipe = ForgetMemorised.default_recipe(inspect_model(pipelines("sd")))
    settings = make_settings(method=None, recipe=recipe)
    assert settings.method_name == ForgetMemorised.default_method
    assert settings.method.fixed_norm == 750  # pyright: ignore[reportAttributeAccessIssue]


def test_control_prompts_are_those_that_were_given_last() -> None:
    first = ForgetMemorised(prompt="a bag", control_prompts="one.txt")
    second = ForgetMemorised(prompt="a hat").after(first)
    assert second.controls == ("one.txt", None)
    third = ForgetMemorised(prompt="a cup", control_prompts="two.csv", caption_column="blip")
    assert third.after(second).controls == ("two.csv", "blip")
    assert [one.prompt for one in second.together] == ["a bag", "a hat"]
    assert len(ForgetMemorised(prompt="a hat").after(second).together) == 2
