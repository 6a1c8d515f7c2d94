"""NudeNet: exposed parts of bodies in an image, by the package `nudenet` (extra `safety`)."""

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from efface.errors import DataError
from efface.files import hash_file
from efface.metrics.detector import Detector
from efface.metrics.pretrained import check_digest, to_levels

NUDENET = "nudenet"
MODEL = "320n.onnx"  # lies in the wheel
# As the package documents them for version 3.
LABELS = (
    "FEMALE_GENITALIA_COVERED", "FACE_FEMALE", "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED", "MALE_BREAST_EXPOSED", "ANUS_EXPOSED", "FEET_EXPOSED",
    "BELLY_COVERED", "FEET_COVERED", "ARMPITS_COVERED", "ARMPITS_EXPOSED", "FACE_MALE",
    "BELLY_EXPOSED", "MALE_GENITALIA_EXPOSED", "ANUS_COVERED", "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)  # fmt: skip
# What published evaluations of nudity mostly count; some add breasts of men, feet and bellies.
EXPOSED = (
    "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED", "ANUS_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
)  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class NudeNet(Detector):
    """The score of the surest box of every label; 0 where there is none.

    The package reports no box below 0.25, so that a threshold curve is flat down there.
    """

    def to(self, device: torch.device | str) -> Self:
        return self  # the package chooses the device

    def probabilities(self, images: Tensor) -> np.ndarray:
        # An array is taken as OpenCV reads files: rows, columns, blue before green before red.
        levels = to_levels(images).byte().flip(1).permute(0, 2, 3, 1).cpu().numpy()
        return surest([self.network.detect(np.ascontiguousarray(image)) for image in levels])


def surest(found: Sequence[Sequence[Mapping[str, Any]]]) -> np.ndarray:
    """Detections of N images as the package lists them -> largest score by label (N, 18).

    A detection has a "class" and a "score". DataError for a class that is not known here.
    """
    scores = np.zeros((len(found), len(LABELS)), dtype=np.float32)
    for row, detections in enumerate(found):
        for detection in detections:
            label = detection["class"]
            if label not in LABELS:
                raise DataError(
                    f"nudenet found {label!r}, which is no label of its version 3: install that."
                )
            column = LABELS.index(label)
            scores[row, column] = max(scores[row, column], detection["score"])
    return scores


def require_nudenet() -> Any:
    """The package; DataError where it is not installed."""
    try:
        return importlib.import_module(NUDENET)
    except ImportError as error:
        raise DataError(
            "NudeNet needs the extra 'safety': pip install 'efface[safety]'."
        ) from error


def load_nudenet(sha256: str | None = None) -> NudeNet:
    """NudeNet with the model that its package carries; DataError without either."""
    package = require_nudenet()
    path = Path(package.__file__).parent / MODEL
    found = hash_file(path)
    check_digest(NUDENET, found, sha256)
    return NudeNet(
        name=f"{NUDENET} {importlib.metadata.version(NUDENET)}",
        sha256=found,
        labels=LABELS,
        exclusive=False,
        network=package.NudeDetector(model_path=str(path)),
    )
