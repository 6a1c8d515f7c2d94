"""A forgotten class: does a classifier see it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from efface.attacks.goals import ConditionGoal, Examples
from efface.data.images import read_at, to_model
from efface.diffusion.model_folder import ModelInfo, drawn_shape
from efface.evaluation.subjects import number_labels
from efface.metrics.judge import Judge


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassGoal(ConditionGoal):
    """The classifier sees a sought label in samples conditioned on labels."""

    judge: Judge

    kind: ClassVar[str] = "label"
    wording: ClassVar[str] = "conditioned on the forgotten label"
    null: ClassVar[str] = "the null label"
    y_label: ClassVar[str] = "share of samples in which the classifier sees it"
    control_line: ClassVar[str] = "other_labels"

    @property
    def measured_with(self) -> str:
        return f"classifier: {self.judge.name}"

    def describe_exchange(self, pairs: Sequence[tuple[int, int]]) -> str:
        named = " and ".join(f"{one} with {other}" for one, other in pairs)
        return f"its labels exchanged ({named})"

    def shown(self, images: Tensor) -> np.ndarray:
        return np.isin(self._probabilities(images).argmax(1), self.sought)

    def score(self, images: Tensor) -> np.ndarray:
        return self._probabilities(images)[:, list(self.sought)].max(1)

    def _probabilities(self, images: Tensor) -> np.ndarray:
        return self.judge.observe(images, np.zeros(len(images), dtype=int)).probabilities


def read_real(source: str | None, model: ModelInfo, labels: Sequence[int]) -> Examples | None:
    """Real images of the forgotten labels at a model's size; None where there are none."""
    if source is None:
        return None
    images = read_at(source, drawn_shape(model), resize=True)
    if images.labels is None:
        return None
    numbers = torch.from_numpy(number_labels(model, images.labels.numpy()))
    images = replace(images, labels=numbers)
    of_them = images.select(torch.isin(numbers, torch.tensor(labels)))
    if len(of_them) == 0 or of_them.labels is None:
        return None
    return Examples(x0=to_model(of_them.images), conditions=of_them.labels.tolist())
