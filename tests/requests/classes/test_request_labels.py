"""Labels by number and by name: what is understood, and what is refused with a way out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from efface import ForgetClass
from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError
from efface.requests.classes.request import find_label
from efface.settings.base import Settings

GARMENTS = ["T-shirt", "ankle boot", "bag", "Tench, Tinca tinca", "crane", "crane, heron"]
GARMENTS += ["10", "02", "random", "Größe", "dress"]


@pytest.fixture
def garments(model_info: Callable[..., ModelInfo]) -> ModelInfo:
    """Eleven named labels."""
    names = {str(label): name for label, name in enumerate(GARMENTS)}
    return dataclasses.replace(model_info(classes=11), index={"id2label": names})


@pytest.mark.parametrize(
    ("given", "label"),
    [
        (2, 2),
        ("2", 2),
        ("bag", 2),
        (" BAG ", 2),
        ("Ankle  Boot", 1),
        ("t-shirt", 0),
        ("tench", 3),
        ("Tinca tinca", 3),
        ("tench, tinca tinca", 3),
        ("heron", 5),
        ("größe", 9),
        ("GRÖSSE", 9),
        ("name:02", 7),
        ("number:02", 2),
        ("number:10", 10),
        ("name:10", 6),
        ("name:random", 8),
        ("-1", -1),  # refused as a number by what knows the model's labels
        ("77", 77),
    ],
)
def test_a_label_is_found_by_number_or_name(
    given: int | str, label: int, garments: ModelInfo
) -> None:
    assert find_label(given, garments) == label


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("crane", "'crane' is more than one label of some/model, 4 and 5: give the number, as"),
        ("10", "'10' is more than one label of some/model, 6 and 10"),
        ("02", "'02' is more than one label of some/model, 2 and 7"),
        ("ankle boots", "'ankle boots' is no label of some/model: it has ankle boot, "),
        ("", "'' is no label of some/model: it has T-shirt, ankle boot"),
        ("name:77", "'name:77' is no label"),
        ("number:bag", "'number:bag' is no label"),
        ("1.0", "'1.0' is no label"),
        ("bags", "'bags' is no label of some/model: it has bag, "),
    ],
)
def test_a_name_that_is_none_or_several_is_refused(
    given: str, sentence: str, garments: ModelInfo
) -> None:
    with pytest.raises(RequestError, match=sentence):
        find_label(given, garments)


def test_of_many_names_the_nearest_are_shown(model_info: Callable[..., ModelInfo]) -> None:
    names = {str(label): f"species {label}" for label in range(1000)}
    info = dataclasses.replace(model_info(classes=1000), index={"id2label": names})
    with pytest.raises(RequestError, match="it has species 77.*, .* and 980 more"):
        find_label("specie 77", info)


def test_labels_without_names_are_numbers(model_info: Callable[..., ModelInfo]) -> None:
    assert find_label("7", model_info()) == 7
    with pytest.raises(RequestError, match="its labels have no names, so give a number, one of"):
        find_label("bag", model_info())


def test_a_request_holds_the_numbers_of_what_it_names(
    garments: ModelInfo, settings: Settings
) -> None:
    request = ForgetClass(labels=("bag", "3"), replacement=("heron", "random")).of(garments)
    assert (request.labels, request.replacement) == ((2, 3), (5, 8))
    request.check(garments, settings)
    assert ForgetClass(labels=("bag",), replacement=("random",)).replacement == ()
    assert ForgetClass(labels=("bag", 2)).of(garments).labels == (2,)
    with pytest.raises(RequestError, match="label 2 was given as forgotten and as its own"):
        ForgetClass(labels=("bag",), replacement=(2,)).of(garments)
    with pytest.raises(RequestError, match="label 77 cannot be forgotten: some/model has labels"):
        ForgetClass(labels=("77",)).of(garments).check(garments, settings)


@pytest.mark.parametrize("null", [0, 4, 10])
def test_the_null_label_is_neither_forgotten_nor_a_replacement_nor_retained(
    null: int, garments: ModelInfo, settings: Settings
) -> None:
    info = dataclasses.replace(garments, num_classes=10, null_label=null)
    sentence = f"label {null} cannot be .*: some/model has labels .* that is its null label"
    for labels, instead in (((null,), (1,)), ((2,), (null,))):
        with pytest.raises(RequestError, match=sentence):
            ForgetClass(labels=labels, replacement=instead).check(info, settings)
    material = ForgetClass(labels=(2,)).read(info, settings)
    assert material.retain == tuple(label for label in range(11) if label not in (2, null))
