"""What a report says of forgotten images."""

from __future__ import annotations

import pytest

from efface.records import Evaluation
from efface.requests import words_of
from tests.reporting.image_runs import make_image_evaluation, make_image_record
from tests.requests.conftest import limits


@pytest.mark.parametrize(
    "count, said", [(0, "the images"), (1, "the image"), (3, "the three images")]
)
def test_images_are_counted_where_their_number_is_recorded(count: int, said: str):
    record = make_image_record([f"{n}.png" for n in range(count)])
    words = words_of(record.request)
    assert words.phrases(record, {}).forgotten == said
    assert words.phrases(record, {}).many == (count != 1)
    assert words.task(record) == "unconditional-image-generation"


def test_limits_follow_the_run():
    said = limits(make_image_record(), make_image_evaluation())
    for part in ("not differential", "the original model generated them", "none was measured"):
        assert part in said
    given = make_image_record(request={"retain": "training-set", "unseen": None})
    said = limits(given, make_image_evaluation(copies=None, gap=None))
    assert "generated them" not in said and "no unseen images were given" in said
    assert "only a retrained model" not in limits(
        make_image_record(), make_image_evaluation(retrained=True)
    )
    assert "measured" not in limits(make_image_record(), Evaluation(results=[]))


def test_no_metric_speaks_of_classes():
    for result in make_image_evaluation(precision=(0.8, 0.7, 0.9)).results:
        assert "class" not in result.spec.meaning.replace("classifier", "")
