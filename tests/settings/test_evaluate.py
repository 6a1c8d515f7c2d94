"""Settings of evaluation: what belongs together."""

from __future__ import annotations

import pytest

from efface.errors import ConfigError
from efface.settings.evaluate import EvaluateSettings
from efface.settings.reading import build


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"detector_labels": ["cat"]}, "evaluate.detector"),
        ({"detector": "owner/classifier"}, "evaluate.detector_labels"),
        ({"detector": "owner/classifier@sha256:00"}, "evaluate.detector_labels"),
    ],
)
def test_what_belongs_together_is_given_together(values, named):
    with pytest.raises(ConfigError, match=named):
        build(EvaluateSettings, values, "evaluate")


@pytest.mark.parametrize("detector", ["nudenet", "nudenet@sha256:00"])
def test_nudenet_has_labels_of_its_own(detector):
    assert build(EvaluateSettings, {"detector": detector}, "evaluate").detector == detector
