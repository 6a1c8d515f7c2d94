"""What a report says of forgotten classes."""

from __future__ import annotations

import pytest

from efface.requests import words_of
from efface.requests.words import Phrases
from tests.reporting.conftest import make_record


def phrases(labels: list[int], replacement: list[int], names: dict[int, str]) -> Phrases:
    request = {"kind": "class", "labels": labels, "replacement": replacement}
    return words_of(request).phrases(make_record(request=request), names)


def test_classes_are_named_and_counted():
    found = phrases([1, 4], [], {1: "cat", 4: "4"})
    assert found.forgotten == "classes 1 (cat) and 4"
    assert found.rest == "the other eight classes"
    assert "to generate one of the other eight classes at random instead" in found.requested
    assert (found.it, found.them, found.are) == ("they", "them", "are")
    one = phrases([1], [2, 3], {})
    assert one.forgotten == "class 1" and "to generate classes 2 and 3 instead" in one.requested


@pytest.mark.parametrize("classes, rest", [(2, "the other class"), (None, "the other classes")])
def test_the_other_classes_are_counted_where_that_is_recorded(classes: int | None, rest: str):
    record = make_record(model={"source": "m", "classes": classes})
    assert words_of(record.request).phrases(record, {}).rest == rest


def test_the_labels_are_no_secret():
    record = make_record()
    assert words_of(record.request).anonymous(record) == "label 4 of 10"
