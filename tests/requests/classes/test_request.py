"""Which labels can be forgotten, by the number of labels alone."""

from __future__ import annotations

import pytest

from efface import ForgetClass
from efface.errors import RequestError


@pytest.mark.parametrize(
    ("labels", "replacement", "sentence"),
    [
        ((12,), (), "label 12 cannot be forgotten: some/model has labels 0 to 9"),
        ((10,), (), "label 10 cannot be forgotten"),
        ((-1,), (), "label -1 cannot be forgotten"),
        ((0,), (10,), "label 10 cannot be a replacement: some/model has labels 0 to 9"),
        ((0,), (-1,), "label -1 cannot be a replacement"),
        ((), (1,), "no label to forget was given"),
        ((3,), (3,), "label 3 was given as forgotten and as its own replacement"),
        ((1, 3), (2, 3), "label 3 was given as forgotten and as its own replacement"),
        ((2, 2), (), r"labels \[2, 2\] name one twice"),
        ((2,), (3, 3), r"labels \[3, 3\] name one twice"),
        (tuple(range(10)), (), "all 10 labels were to be forgotten: at least one must"),
    ],
)
def test_what_cannot_be_is_refused(labels, replacement, sentence, model_info, settings):
    with pytest.raises(RequestError, match=sentence):
        ForgetClass(labels=labels, replacement=replacement).check(model_info(), settings)


def test_a_model_of_one_class_cannot_forget_it(model_info, settings):
    with pytest.raises(RequestError, match="all 1 labels"):
        ForgetClass(labels=(0,)).check(model_info(classes=1), settings)


def test_all_labels_but_the_forgotten_are_retained():
    assert ForgetClass(labels=(0, 4)).retained(range(6)) == [1, 2, 3, 5]
    assert ForgetClass(labels=(0,), replacement=["random"]).replacement == ()  # pyright: ignore


@pytest.mark.parametrize("given", [True, 1, 0.5, "random", {"a": 1}, [None], [[8]], [1e308]])
def test_a_recorded_replacement_that_is_none_is_one_sentence(given: object) -> None:
    with pytest.raises(RequestError, match="replacement"):
        ForgetClass.model_validate({"kind": "class", "labels": [4], "replacement": given})


def test_labels_are_named_in_words() -> None:
    assert ForgetClass(labels=(3,)).describe() == "label 3"
    assert ForgetClass(labels=(3, 5)).describe() == "labels 3, 5"
