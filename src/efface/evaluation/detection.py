"""The detector of the settings: which one, which of its labels are the concept."""

from collections.abc import Sequence

from efface.metrics.detector import Detector, check_labels, load_classifier, read_labels
from efface.metrics.nudenet import EXPOSED, LABELS, NUDENET, load_nudenet, require_nudenet
from efface.metrics.pretrained import split_pin
from efface.settings.evaluate import EvaluateSettings

LABELS_SETTING = "evaluate.detector_labels"


def concept_labels(config: EvaluateSettings) -> tuple[str, ...]:
    """Labels that count as the concept."""
    return config.detector_labels or EXPOSED


def check_detector(config: EvaluateSettings) -> Sequence[str]:
    """All labels of the detector, none where there is none; it is not loaded.

    ConfigError for settings with other labels, DataError for what is no detector.
    """
    if config.detector is None:
        return ()
    source, pin = split_pin(config.detector)
    if source == NUDENET:
        require_nudenet()
    labels = LABELS if source == NUDENET else read_labels(source, pin)
    check_labels(concept_labels(config), labels, LABELS_SETTING)
    return labels


def load_detector(config: EvaluateSettings) -> Detector:
    """The detector; DataError for one that is none, ConfigError for labels that it lacks."""
    assert config.detector is not None
    source, pin = split_pin(config.detector)
    detector = load_nudenet(pin) if source == NUDENET else load_classifier(source, pin)
    check_labels(concept_labels(config), detector.labels, LABELS_SETTING)
    return detector
