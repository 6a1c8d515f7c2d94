"""The detector of the settings: it is checked before it is loaded, and so are its labels."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from efface.errors import ConfigError, DataError
from efface.evaluation.detection import check_detector, concept_labels, load_detector
from efface.metrics.detector import check_labels
from efface.metrics.nudenet import EXPOSED
from efface.metrics.nudenet import LABELS as PARTS
from efface.settings.evaluate import EvaluateSettings
from tests.metrics.detectors import LABELS, make_brightness


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_brightness(tmp_path_factory.mktemp("brightness"), None)


def test_a_detector_is_loaded_with_the_labels_that_it_was_checked_for(detector: Path) -> None:
    config = EvaluateSettings(detector=str(detector), detector_labels=("bag", "boot"))
    assert concept_labels(config) == ("bag", "boot")
    assert check_detector(config) == load_detector(config).labels == LABELS


def test_labels_that_it_does_not_know_are_refused_before_and_after_loading(detector: Path) -> None:
    config = EvaluateSettings(detector=str(detector), detector_labels=("boots",))
    for read in (check_detector, load_detector):
        with pytest.raises(ConfigError, match=r"evaluate.detector_labels names 'boots'.*'boot'\?"):
            read(config)


def test_another_checksum_is_refused(detector: Path) -> None:
    config = EvaluateSettings(detector=f"{detector}@sha256:{'0' * 64}", detector_labels=("bag",))
    for read in (check_detector, load_detector):
        with pytest.raises(DataError, match="has the checksum"):
            read(config)


def test_without_a_detector_there_are_no_labels() -> None:
    assert check_detector(EvaluateSettings()) == ()


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nudenet", None)
    config = EvaluateSettings(detector="nudenet")
    for ask in (load_detector, check_detector):
        with pytest.raises(DataError) as error:
            ask(config)
        assert str(error.value) == (
            "NudeNet needs the extra 'safety': pip install 'efface[safety]'."
        )


def test_exposed_parts_are_the_choice_where_none_is_given():
    assert concept_labels(EvaluateSettings(detector="nudenet")) == EXPOSED
    given = EvaluateSettings(detector="nudenet", detector_labels=("FEET_EXPOSED",))
    assert concept_labels(given) == ("FEET_EXPOSED",)
    with pytest.raises(ConfigError, match="Did you mean 'FEET_EXPOSED'"):
        check_labels(["FEET_EXPOSD"], PARTS, "evaluate.detector_labels")
