"""What can be asked to be forgotten of prompts, and what is refused without reading anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efface.diffusion.model_folder import inspect_model
from efface.errors import ConfigError, DataError, RequestError
from efface.requests import read_request
from efface.requests.concept.request import ForgetConcept
from efface.settings.base import Settings, read_settings

BAG = {"concept": "bag", "replacement": "coat"}
Make = Callable[..., Settings]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (BAG | {"replacement": "Bag"}, "'Bag'.*own replacement"),
        (BAG | {"replacement": " "}, "replacement phrase is empty"),
        (BAG | {"concept": " - "}, "concept ' - ' has no words"),
        (BAG | {"also": ("",)}, "concept '' has no words"),
        (BAG | {"also": ("Coat",)}, "'coat'.*own replacement"),
        ({"concept": "bag"}, "replacement phrase.*prompt pairs.*keywords"),
        (BAG | {"negative": "x.txt"}, "only one of them"),
        ({"concept": "bag", "also": ("tote",), "negative": "x.txt"}, "prompt pairs or keywords"),
        (
            {"concept": "bag", "forget_prompts": "x.txt", "prompt_pairs": "y.txt"},
            "forget prompts.*one of the two",
        ),
        (BAG | {"concept": 3}, "request.concept is 3"),
        (BAG | {"caption_column": "blip"}, "column 'blip'.*no table of prompts"),
        (BAG | {"caption_column": "blip", "retain_prompts": "x.txt"}, "no table of prompts"),
    ],
)
def test_words_that_contradict_each_other_are_refused(words: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        ForgetConcept(**words)


def test_a_model_without_prompts_is_refused(tiny_model: Path, concept_settings: Make) -> None:
    info = inspect_model(tiny_model)
    assert not ForgetConcept.suits(info)
    with pytest.raises(RequestError, match="text-to-image model"):
        ForgetConcept(**BAG).check(info, concept_settings())


def test_keywords_need_guidance_of_the_teacher(
    pipelines: Callable[[str], Path], concept_settings: Make
) -> None:
    info = inspect_model(pipelines("sd"))
    request = ForgetConcept(concept="colour", negative="x.txt")
    request.check(info, concept_settings())
    with pytest.raises(ConfigError, match=r"method\.teacher_guidance above 1"):
        request.check(info, concept_settings("method.teacher_guidance=1.0"))


GUIDED = ["concept.forget_guidance=2.0", "concept.gibberish=0.1", "concept.interpolation=0.5"]


def with_method(method: str, *changes: str) -> Settings:
    return read_settings(ForgetConcept.section, ForgetConcept.own, method=method, changes=changes)


@pytest.mark.parametrize("setting", GUIDED)
@pytest.mark.parametrize("method", ["esd", "concept_ablation", "uce", "rece", "sfd", "redirection"])
def test_a_setting_that_a_method_does_not_read_is_refused(
    method: str, setting: str, pipelines: Callable[[str], Path]
) -> None:
    info, request = inspect_model(pipelines("sd")), ForgetConcept(**BAG)
    request.check(info, with_method(method))
    name = setting.split("=")[0]
    read = method in ("sfd", "redirection")
    read |= method in ("esd", "concept_ablation") and name == "concept.interpolation"
    refusal = pytest.raises(ConfigError, match=f"{name} has no effect.*'{method}'")
    with contextlib.nullcontext() if read else refusal:
        request.check(info, with_method(method, setting))


@pytest.mark.parametrize("name", ["forget_prompts", "retain_prompts", "prompt_pairs", "negative"])
def test_a_missing_file_is_named_before_anything_is_read(name: str) -> None:
    words = {"concept": "bag", name: "missing.txt"}
    if name.endswith("_prompts"):
        words |= BAG
    with pytest.raises(DataError, match="no prompts at missing.txt"):
        ForgetConcept(**words).check_files()


def test_a_request_comes_back_from_its_record() -> None:
    request = ForgetConcept(**BAG, also=("tote", "purse"))
    assert read_request(request.model_dump(mode="json")) == request
    assert request.describe() == "the concept 'bag', also called 'tote', 'purse'"
    assert request.names == ("bag", "tote", "purse")
