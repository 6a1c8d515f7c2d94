"""What finds a concept in samples (a detector, or a CLIP), and the goal of bringing it back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from efface.attacks.goals import ConditionGoal
from efface.data.batch import in_turn
from efface.data.phrases import same_phrase
from efface.errors import ConfigError
from efface.evaluation.store import Arrays
from efface.evaluation.views import ClipView, DetectorView, View
from efface.settings.evaluate import EvaluateSettings

Phrases = tuple[str, str]  # the concept and its replacement
AT_ONCE = 64  # images


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipFinder(ClipView):
    """Finds in samples what it prefers to other texts: the concept, or a label in its place.

    Without `phrases` each sample has two texts of its own in `pairs`, which take turns: its prompt
    and the target of that, or the concept of one of several requests and its replacement.
    """

    phrases: Phrases | None
    pairs: Sequence[tuple[str, str]] = ()

    @property
    def name(self) -> str:
        return self.clip.name

    @property
    def digest(self) -> str:
        """The CLIP's own: it sees the same in an image, whatever is asked of it afterwards."""
        return ClipView(clip=self.clip).digest

    @property
    def measured_with(self) -> str:
        pair = "the concept and its replacement"
        if self.phrases is None:
            pair = "what each sample was asked for and what replaces it"
        return f"{self.name}, which chooses between {pair}"

    def scores(self, arrays: Arrays, labels: Sequence[str] = ()) -> np.ndarray:
        """How probable it is that each sample shows the label, or the concept: (N,)."""
        texts = self.pairs if self.phrases is None else [self._texts(labels)]
        embedded = arrays["embedded"]
        return self.clip.prefers_first(embedded, in_turn(texts, len(embedded)))

    def name_sought(self, labels: Sequence[str]) -> str:
        sought, *others = self._texts(labels)
        return f"{sought!r} rather than {' or '.join(map(repr, others))}"

    def described_as(self, sought: str) -> dict[str, str]:
        return self.extractor | {"name": f"{self.name}, {sought}"}

    def _texts(self, labels: Sequence[str]) -> tuple[str, ...]:
        assert self.phrases is not None  # or there were no groups
        others = [p for p in self.phrases if not any(same_phrase(p, label) for label in labels)]
        return (*labels, *others)


Finder = DetectorView | ClipFinder


def find_finders(
    views: Mapping[str, View], phrases: Phrases | None, pairs: Sequence[tuple[str, str]] = ()
) -> dict[str, Finder]:
    """Those of the networks that find a concept, by name: a detector before a CLIP."""
    detectors = {n: view for n, view in views.items() if isinstance(view, DetectorView)}
    clips = {n: view.clip for n, view in views.items() if isinstance(view, ClipView)}
    finders = {n: ClipFinder(clip=c, phrases=phrases, pairs=pairs) for n, c in clips.items()}
    return {**detectors, **finders}


def require_finder(config: EvaluateSettings, phrases: Phrases | None) -> None:
    """Raise ConfigError unless the settings name what can find a concept."""
    if config.detector is None and (config.clip is None or phrases is None):
        raise ConfigError(
            "nothing is set that finds the concept in samples: set evaluate.detector and "
            "evaluate.detector_labels, or evaluate.clip where a phrase was replaced by another."
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptGoal(ConditionGoal):
    """A finder scores samples of prompts that name the concept above `threshold`."""

    finder: Callable[[Tensor], np.ndarray]  # images (B, C, H, W) in [0, 1] -> scores (B,)
    threshold: float
    called: str  # the finder

    kind: ClassVar[str] = "prompt"
    wording: ClassVar[str] = "prompted with what names the concept"
    null: ClassVar[str] = "the empty prompt"
    y_label: ClassVar[str] = "share of samples in which the concept is found"
    control_line: ClassVar[str] = "other_prompts"

    @property
    def measured_with(self) -> str:
        return f"measured with: {self.called}"

    def describe_exchange(self, pairs: Sequence[tuple[str, str]]) -> str:
        # Forget prompts are not written anywhere.
        return f"{len(pairs)} prompts that name the concept exchanged with retained ones"

    def shown(self, images: Tensor) -> np.ndarray:
        return self.score(images) > self.threshold

    def score(self, images: Tensor) -> np.ndarray:
        return np.concatenate([self.finder(part) for part in images.split(AT_ONCE)])
