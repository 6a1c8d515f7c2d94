"""What can be asked for, and what is refused before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError
from efface.requests.base import Distil, ForgetClass, Request


def model(classes: int | None = 10) -> ModelInfo:
    return ModelInfo(
        source="some/model",
        on_hub=False,
        folder=Path("."),
        component="unet",
        network_class="UNet2DModel",
        vae=False,
        num_classes=classes,
        null_label=classes,
        default_steps=50,
        input_scale=1.0,
        index={},
    )


@pytest.mark.parametrize(
    "request_",
    [
        ForgetClass(labels=(0,), replacement=(1,)),
        ForgetClass(labels=(9,)),
        ForgetClass(labels=tuple(range(9)), replacement=(9,)),
        ForgetClass(labels=(0, 1), replacement=(3, 2)),
        Distil(),
    ],
)
def test_what_the_model_can_do_is_accepted(request_):
    request_.check(model())


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
        (tuple(range(10)), (), "all 10 labels were to be forgotten: at least one must stay"),
    ],
)
def test_what_cannot_be_is_refused(labels, replacement, sentence):
    with pytest.raises(RequestError, match=sentence):
        ForgetClass(labels=labels, replacement=replacement).check(model())


@pytest.mark.parametrize("request_", [ForgetClass(labels=(0,)), Distil()])
def test_unconditional_models_have_no_label_to_forget(request_):
    with pytest.raises(RequestError, match="some/model is not class-conditional"):
        request_.check(model(classes=None))


def test_a_model_of_one_class_cannot_forget_it():
    with pytest.raises(RequestError, match="all 1 labels"):
        ForgetClass(labels=(0,)).check(model(classes=1))


@pytest.mark.parametrize("request_", [ForgetClass(labels=(0, 4), replacement=(1,)), Distil()])
def test_requests_come_back_from_json(request_):
    adapter = TypeAdapter(Request)
    assert adapter.validate_json(request_.model_dump_json()) == request_
    assert type(request_).model_validate(request_.model_dump(mode="json")) == request_


def test_requests_are_frozen_and_take_nothing_else():
    with pytest.raises(ValidationError):
        ForgetClass(labels=(0,)).labels = (1,)
    with pytest.raises(ValidationError):
        ForgetClass.model_validate({"labels": [0], "label": 3})
    with pytest.raises(ValidationError):
        ForgetClass.model_validate({"labels": [0.5]})


def test_what_stays_is_everything_else():
    assert ForgetClass(labels=(0, 4)).retained(6) == [1, 2, 3, 5]


def test_a_request_is_described_in_words():
    assert ForgetClass(labels=(3,)).describe() == "label 3"
    assert ForgetClass(labels=(3, 5)).describe() == "labels 3, 5"
