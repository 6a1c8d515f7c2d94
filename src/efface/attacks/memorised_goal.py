"""A memorised picture: does the prompt, or what an attacker makes of the model, draw copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from efface.attacks.concept_goal import ConceptGoal


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedGoal(ConceptGoal):
    """The finder is the likeness to the memorised picture, from `threshold` on a copy.

    `sought` is the prompt that the picture was memorised for, `others` are control prompts.
    """

    wording: ClassVar[str] = "asked by the prompt that the picture was memorised for"
    shows: ClassVar[str] = "share of samples that copy the picture"

    def tell_exchange(self, pairs: Sequence[tuple[str, str]]) -> str:
        return f"its prompt exchanged with {len(pairs)} that stays"
