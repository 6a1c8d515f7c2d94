"""Which samples are generated for a request about prompts."""

from __future__ import annotations

from dataclasses import dataclass

from efface.attacks.goals import in_turn
from efface.evaluation.terms import Terms, digest_of, shorten
from efface.records import Side
from efface.requests.concept.finding import Phrases
from efface.requests.concept.prompt_groups import PromptGroup, digest_groups
from efface.requests.concept.prompts import ConceptPrompts
from efface.settings.evaluate import EvaluateSettings

GROUPS = "prompt groups"


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptProtocol:
    """Which samples are generated: prompts take turns, sample i has seed first + i.

    `phrases` are the concept and its replacement; without them a CLIP compares every forget prompt
    with its own target. All groups have the same seeds, so that none depends on the others.
    """

    prompts: ConceptPrompts
    config: EvaluateSettings
    phrases: Phrases | None = None
    groups: tuple[PromptGroup, ...] = ()
    group_samples: int = 0  # of each group

    def rows(self, side: Side) -> list[int]:
        """The number of each sample's prompt."""
        if side == "forget":
            return in_turn(range(len(self.prompts.forget)), self.config.forget_samples)
        return in_turn(range(len(self.prompts.retain)), self.config.retain_samples)

    def sampled(self, side: Side) -> list[str]:
        """The prompt of each sample."""
        prompts = self.prompts.forget if side == "forget" else self.prompts.retain
        return [prompts[row] for row in self.rows(side)]

    def seeds(self, side: Side) -> range:
        first = self.config.seed + (0 if side == "forget" else self.config.forget_samples)
        return range(first, first + len(self.rows(side)))

    def sampled_group(self, group: PromptGroup) -> list[str]:
        """The prompt of each sample of a group."""
        return in_turn(group.prompts, self.group_samples)

    def group_seeds(self) -> range:
        first = self.config.seed + self.config.forget_samples + self.config.retain_samples
        return range(first, first + self.group_samples)

    def contrasts(self) -> list[tuple[str, str]]:
        """The two texts between which a CLIP chooses, for each sample of the forget prompts."""
        if self.phrases is not None:
            return [self.phrases] * len(self.rows("forget"))
        pairs = list(zip(self.prompts.forget, self.prompts.targets, strict=True))
        return [pairs[row] for row in self.rows("forget")]

    def terms(self) -> Terms:
        """What two evaluations share if their figures may be compared."""
        forget = [self.prompts.forget, self.prompts.targets, self.phrases]
        return {
            "forget prompts": digest_of(forget),
            "retained prompts": digest_of(self.prompts.retain),
            GROUPS: shorten(digest_groups(self.groups)) if self.groups else "none",
        }
