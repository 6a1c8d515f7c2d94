"""Which samples are drawn for a request about prompts."""

from __future__ import annotations

from dataclasses import dataclass

from efface.metrics.base import Side
from efface.requests.concept.prompt_groups import PromptGroup
from efface.requests.concept.prompts import ConceptPrompts
from efface.settings.reading import EvaluateConfig


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptProtocol:
    """Which samples are drawn: prompts take turns, sample i has seed first + i.

    `phrases` are the concept and its replacement; where there are none, a CLIP compares every
    prompt to forget with its own target. All groups have the same seeds, so that none depends on
    which others there are.
    """

    prompts: ConceptPrompts
    phrases: tuple[str, str] | None
    config: EvaluateConfig
    groups: tuple[PromptGroup, ...] = ()

    def rows(self, side: Side) -> list[int]:
        """The number of the prompt that each sample is drawn for."""
        given = self.prompts.forget if side == "forget" else self.prompts.retain
        count = self.config.forget_samples if side == "forget" else self.config.retain_samples
        return [i % len(given) for i in range(count)] if given else []

    def asked(self, side: Side) -> list[str]:
        given = self.prompts.forget if side == "forget" else self.prompts.retain
        return [given[row] for row in self.rows(side)]

    def seeds(self, side: Side) -> range:
        first = self.config.seed + (0 if side == "forget" else self.config.forget_samples)
        return range(first, first + len(self.rows(side)))

    def group_asked(self, group: PromptGroup) -> list[str]:
        return [group.prompts[i % len(group.prompts)] for i in range(self.config.group_samples)]

    def group_seeds(self) -> range:
        first = self.config.seed + self.config.forget_samples + self.config.retain_samples
        return range(first, first + self.config.group_samples)

    def contrasts(self) -> list[tuple[str, str]]:
        """For each sample to forget the two texts that a CLIP chooses between."""
        targets = self.prompts.targets
        if self.phrases is not None:
            return [self.phrases] * len(self.rows("forget"))
        return [(self.prompts.forget[row], targets[row]) for row in self.rows("forget")]
