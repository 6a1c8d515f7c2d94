"""How similar images are, which of them are copies of one, and both sides of a set."""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import ConfigDict
from torch import Tensor

from efface.data.split import COPY_SHARE
from efface.errors import DataError
from efface.evaluation.store import Arrays, digest_of_array
from efface.metrics.copy_similarity import pixels
from efface.metrics.extractors import Extractor, load_extractor
from efface.metrics.pretrained import split_pin
from efface.requests.memorised.sampling import to_unit
from efface.requests.memorised.settings import MemorisedSettings

NEAREST = 0.99  # quantile: a few of many controls may happen to be copies too
AT_ONCE = 250
SIMILARITY = "similarity"  # what it keeps as an observer, and under which name
LEAST_SHARE, MOST_SHARE = 0.05, 0.95  # of copies; beyond, one side is too small to learn from


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """What images are compared by: features of an extractor, or pixels."""

    extractor: Extractor | None = None

    @property
    def name(self) -> str:
        if self.extractor is None:
            return "correlation of pixels"
        return f"cosine of {self.extractor.name} ({self.extractor.sha256[:12]})"

    def matches(self, name: str) -> bool:
        """Whether another comparison's name is of the same file, wherever that lies."""
        return name.rpartition("(")[2] == self.name.rpartition("(")[2]

    def to(self, device: torch.device | str) -> "Comparison":
        return self if self.extractor is None else Comparison(extractor=self.extractor.to(device))

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, D)."""
        return pixels(images) if self.extractor is None else self.extractor.features(images)

    @torch.inference_mode()
    def unit_features(self, images: Tensor) -> Tensor:
        """Features of images (N, C, H, W) in [0, 1] at length 1: (N, D) float64 on the CPU."""
        parts = [self.features(part).double().cpu() for part in images.split(AT_ONCE)]
        return torch.nn.functional.normalize(torch.cat(parts), dim=1)


PIXELS = Comparison()


def read_comparison(source: str | None) -> Comparison:
    """Pixels, or an extractor by its name in settings; DataError for what cannot be read."""
    return PIXELS if source is None else Comparison(extractor=load_extractor(*split_pin(source)))


def mean_similarity(units: Tensor) -> float:
    """Mean cosine over all pairs of different images, (N, D)."""
    count = len(units)
    return float(((units @ units.T).sum() - count) / (count * (count - 1)))


def mode(units: Tensor) -> int:
    """Index of the image that the others are most similar to, (N, D)."""
    return int((units @ units.T).sum(1).argmax())


def copy_threshold(controls: np.ndarray) -> float:
    """The similarity from which an image is a copy, from that of control samples (M,).

    Features of length 1 with cosine s are sqrt(2 - 2 s) apart; a copy lies within half of the
    distance of the nearest controls, so it is nearer to the image than to any of them.
    """
    nearest = float(np.quantile(controls, NEAREST))
    return 1 - COPY_SHARE**2 * (1 - nearest)


@dataclass(frozen=True, eq=False, kw_only=True)
class CopyDetector:
    """Distinguishes copies of one image from other images; an observer of samples."""

    reference: Tensor  # (C, H, W) in [0, 1]
    threshold: float
    comparison: Comparison

    @property
    def called(self) -> str:
        name = self.comparison.name
        return f"{name} with the memorised image; a copy has {self.threshold:.3f} or more"

    def similarity(self, images: Tensor) -> np.ndarray:
        """Cosine with the reference, (N, C, H, W) -> (N,)."""
        both = self.comparison.unit_features(torch.cat([self.reference[None], images]))
        return (both[1:] @ both[0]).numpy()

    def copies(self, images: Tensor) -> np.ndarray:
        """Which images are copies, (N,)."""
        return self.similarity(images) >= self.threshold

    @property
    def digest(self) -> str:
        return f"{SIMILARITY} {self.comparison.name} {digest_of_array(self.reference.numpy())}"

    def __call__(self, images: Tensor) -> Arrays:
        return {SIMILARITY: self.similarity(images)}


@dataclass(frozen=True, eq=False, kw_only=True)
class Sides:
    """Images (N, C, H, W) uint8 to learn from.

    Some are on neither side: learning to generate near-copies would retain what is to be forgotten.
    """

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    forget: Tensor
    retain: Tensor
    undecided: int


def separate(images: Tensor, detector: CopyDetector, settings: MemorisedSettings) -> Sides:
    """Separate images (N, C, H, W) uint8; DataError where one side has next to nothing.

    Of those that are no copies the share `undecided` that is most similar to the memorised image is
    on neither side.
    """
    similarity = detector.similarity(to_unit(images))
    copies = similarity >= detector.threshold
    others = np.flatnonzero(~copies)
    left_out = int(settings.undecided * len(others))
    farthest = others[np.argsort(similarity[others], kind="stable")][: len(others) - left_out]
    forget, retain = images[torch.from_numpy(copies)], images[np.sort(farthest)]
    count, total, least = len(forget), len(images), settings.least_rows
    if min(count, len(retain)) < least or not LEAST_SHARE <= count / total <= MOST_SHARE:
        raise DataError(
            f"{count} of {total} samples count as copies, which leaves one side too small to "
            f"learn from (at least {least}, and {LEAST_SHARE:.0%} of all): give another "
            "--modified-prompt, raise memorised.images, or set memorised.copy_similarity."
        )
    return Sides(forget=forget, retain=retain, undecided=left_out)
