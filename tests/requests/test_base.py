"""What can be requested, and what is refused before anything heavy is loaded."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import efface
from efface import Distil, ForgetClass
from efface.errors import DataError, RequestError
from efface.requests import is_request, kinds, read_request, sections
from efface.requests.base import Request, has_words
from efface.settings.base import read_settings

REQUESTS = [
    ForgetClass(labels=(0, 4), replacement=(1,)),
    efface.Distil(),
    efface.ForgetImages(images="x"),
    efface.ForgetConcept(concept="bag", replacement="coat"),
    efface.ForgetMemorised(prompt="a red bag"),
]


@pytest.mark.parametrize(
    "request_",
    [
        ForgetClass(labels=(0,), replacement=(1,)),
        ForgetClass(labels=(9,)),
        ForgetClass(labels=tuple(range(9)), replacement=(9,)),
        ForgetClass(labels=(0, 1), replacement=(3, 2)),
        efface.Distil(),
    ],
)
def test_what_the_model_can_do_is_accepted(request_, model_info, settings):
    request_.check(model_info(), settings)
    assert request_.suits(model_info())


@pytest.mark.parametrize("request_", [ForgetClass(labels=(0,)), efface.Distil()])
def test_unconditional_models_have_no_label_to_forget(request_, model_info, settings):
    assert not request_.suits(model_info(classes=None))
    with pytest.raises(RequestError, match="some/model"):
        request_.check(model_info(classes=None), settings)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request_: request_.kind)
def test_requests_come_back_from_their_record(request_: Request):
    assert read_request(request_.model_dump(mode="json")) == request_


def test_every_kind_is_found_by_its_folder_and_has_its_own_section():
    assert set(kinds()) == {request.kind for request in REQUESTS}
    own = sections()
    assert set(own) == {"class", "images", "concept", "memorised", "distil"}
    assert all(issubclass(section, BaseModel) for section in own.values())
    for kind in kinds().values():
        names = {
            f"{section}.{name}" for section, one in own.items() for name in one.model_fields
        } | {f"evaluate.{name}" for name in type(read_settings("x", None).evaluate).model_fields}
        assert kind.measured | kind.attacked <= names


def test_a_request_of_another_version_or_package_is_refused():
    assert not is_request({"kind": "train"})
    with pytest.raises(DataError, match="'magic'"):
        read_request({"kind": "magic"})
    with pytest.raises(DataError, match="later"):
        read_request({"kind": "class", "labels": [0], "later": 1})


def test_requests_are_frozen_and_take_nothing_else():
    with pytest.raises(ValidationError):
        ForgetClass(labels=(0,)).labels = (1,)
    with pytest.raises(RequestError, match="label"):
        ForgetClass.model_validate({"labels": [0], "label": 3})
    with pytest.raises(RequestError, match="labels"):
        ForgetClass.model_validate({"labels": [0.5]})


def test_a_request_is_described_in_words():
    assert all(request.describe() for request in REQUESTS)


def test_small_words():
    assert has_words("a?") and not has_words("?!")


def test_what_was_forgotten_before_goes_along_once() -> None:
    first, second = ForgetClass(labels=(4,), replacement=(9,)), ForgetClass(labels=(7,))
    both = second.after(first)
    assert both.earlier == (first,) and "earlier" not in first.model_dump()
    assert read_request(both.model_dump(mode="json")) == both
    assert second.after(both) == both and both.after(Distil()) == both
    third = first.after(both)  # once more: it is the last one now
    assert third.labels == (4,) and third.earlier == (second,)
    assert ForgetClass(labels=(0,)).after(both).earlier == (first, second)


@pytest.mark.parametrize(
    "earlier", [5, "class", [5], [{}], [{"kind": "gone"}], [{"kind": "class", "earlier": []}]]
)
def test_earlier_requests_of_a_record_are_not_trusted(earlier: object) -> None:
    with pytest.raises(DataError):
        read_request({"kind": "class", "labels": [1], "earlier": earlier})


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_kind_keeps_what_it_says_and_refuses_the_rest(kind: str) -> None:
    words: dict[str, dict[str, Any]] = {
        "class": {"labels": (1,)},
        "images": {"images": "folder"},
        "concept": {"concept": "bag", "replacement": "coat"},
        "memorised": {"prompt": "a bag"},
        "distil": {},
    }
    for other in sorted(set(words) - {"distil"}):
        before = kinds()[other](**words[other])
        if other in kinds()[kind].keeps:
            kinds()[kind](**words[kind]).after(before)
            continue
        with pytest.raises(RequestError, match=f"one of the kind '{kind}' cannot keep that"):
            kinds()[kind](**words[kind], earlier=(before,))
