"""What a report says of a distilled model."""

from __future__ import annotations

import pytest

from efface.requests import words_of
from tests.reporting.conftest import make_record


@pytest.mark.parametrize("classes, task", [(10, None), (None, "text-to-image")])
def test_a_model_without_classes_takes_prompts(classes: int | None, task: str | None):
    record = make_record(request={"kind": "distil"}, model={"source": "m", "classes": classes})
    words = words_of(record.request)
    assert words.task(record) == task and words.made == "in one step"
    assert words.phrases(record, {}).requested.startswith("The model m was distilled")
