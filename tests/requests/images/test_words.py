"""What a report says of forgotten images, by copies and by the membership gap."""

from __future__ import annotations

import math

import pytest

from efface.records import Evaluation
from efface.requests import words_of
from efface.requests.states import Kept
from efface.requests.words import Judgement
from tests.reporting.conftest import Triple
from tests.reporting.image_runs import make_image_evaluation, make_image_record
from tests.requests.conftest import judge, limits

KNOWN: Triple = (0.82, 0.78, 0.86)
LEVEL: Triple = (0.04, -0.02, 0.1)
HALFWAY: Triple = (0.4, 0.36, 0.44)
BEYOND: Triple = (-1.3, -1.5, -1.1)
WORSE: Triple = (12.0, 11.0, 13.0)


def found(**measured: object) -> Judgement:
    return judge(make_image_record(), make_image_evaluation(**measured))


def test_no_copies_and_no_gap_is_gone():
    gone = found()
    assert (gone.forgotten, gone.kept, gone.overshot) == ("gone", "kept", False)
    assert [evidence.clause for evidence in gone.forget] == [
        "it was copied in 0 of 1,024 samples (original model: 61)",
        "its denoising loss is 4.0\u00a0% below that of unseen images (original model: 82.0\u00a0% "
        "below)",
    ]


@pytest.mark.parametrize(
    "count, said", [(0, "the images"), (1, "the image"), (3, "the three images")]
)
def test_images_are_counted_where_their_number_is_recorded(count: int, said: str):
    record = make_image_record([f"{n}.png" for n in range(count)])
    words = words_of(record.request)
    assert words.phrases(record, {}).forgotten == said
    assert words.phrases(record, {}).many == (count != 1)
    assert words.task(record) == "unconditional-image-generation"


def test_a_retrained_model_stands_beside_it():
    assert [evidence.beside["retrained model"] for evidence in found(retrained=True).forget] == [
        "0", "3.0\u00a0% below",
    ]  # fmt: skip


def test_beyond_unseen_images_is_overshot():
    assert found(gap=(KNOWN, BEYOND)).overshot
    assert not found(gap=(KNOWN, (-0.3, -0.4, -0.2))).overshot


@pytest.mark.parametrize(
    "measured, state",
    [
        ({"copies": (61, 1)}, "not_gone"),
        ({"gap": (KNOWN, HALFWAY)}, "not_gone"),
        ({"copies": (0, 40), "gap": (LEVEL, LEVEL)}, "not_gone"),
        ({"copies": (0, 0)}, "gone"),  # known, never copied
        ({"copies": (0, 0), "gap": (KNOWN, HALFWAY)}, "not_gone"),
        ({"copies": (61, 55), "gap": (KNOWN, (0.81, 0.77, 0.85))}, "unchanged"),
        ({"copies": (2, 0), "samples": 64}, "inconclusive"),
        ({"copies": None}, "inconclusive"),
        ({"gap": None}, "inconclusive"),
        ({"copies": (0, 0), "gap": (LEVEL, LEVEL)}, "not_memorised"),
        ({"copies": (0, 0), "gap": None}, "not_memorised"),
        ({"copies": None, "gap": (LEVEL, LEVEL)}, "not_memorised"),
        ({"copies": None, "gap": (KNOWN, (math.nan,) * 3)}, "unmeasured"),
    ],
)
def test_both_figures_must_say_that_it_is_gone(measured: dict[str, object], state: str):
    assert found(**measured).forgotten == state


def test_what_is_not_copied_but_known_is_told_by_its_gap_first():
    known = found(gap=(KNOWN, HALFWAY)).forget
    assert [evidence.result.metric for evidence in known] == ["membership_gap", "copy_rate"]


@pytest.mark.parametrize(
    "measured, state",
    [
        ({"fid": WORSE}, "damaged"),
        ({"inception": (8.5, 8.4, 8.6)}, "damaged"),  # 8.6 is below 0.97 times 9.0
        ({"fid": (8.0, 7.0, 9.0)}, "inconclusive"),
        ({"inception": (8.5, 8.0, 9.0)}, "inconclusive"),
        ({"recall": (0.7, 0.66, 0.74)}, "less_varied"),
        ({"fid": WORSE, "recall": (0.1, 0.05, 0.15)}, "broken"),
        ({"fid": WORSE, "precision": (0.1, 0.05, 0.15)}, "broken"),
        ({"fid": None}, "kept"),
        ({"fid": None, "inception": None}, "unmeasured"),
    ],
)
def test_the_quality_of_samples_says_what_became_of_the_rest(
    measured: dict[str, object], state: Kept
):
    assert found(**measured).kept == state


def test_limits_follow_the_run():
    said = limits(make_image_record(), make_image_evaluation())
    for part in ("not differential privacy", "the original model generated them",
                 "looser similarity", "never seen is not better", "none was measured"):  # fmt: skip
        assert part in said
    given = make_image_record(request={"retain": "training-set", "unseen": None})
    said = limits(given, make_image_evaluation(copies=None, gap=None))
    assert "generated them" not in said and "no unseen images were given" in said
    assert "copies was not measured" in said
    assert "only a retrained model" not in limits(
        make_image_record(), make_image_evaluation(retrained=True)
    )
    assert "measured" not in limits(make_image_record(), Evaluation(results=[]))


def test_no_metric_speaks_of_classes():
    words = words_of(make_image_record().request)
    for result in make_image_evaluation(precision=(0.8, 0.7, 0.9)).results:
        assert "class" not in words.term(result.metric).meaning.replace("classifier", "")
