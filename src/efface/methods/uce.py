"""UCE: cross-attention reads a concept as its replacement, in closed form."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from efface.data.batch import WordBank
from efface.methods.closed_form import Editor


@dataclass(frozen=True, kw_only=True)
class UCE(Editor):
    """Unified concept editing (Gandikota et al., WACV 2024) of a concept's words."""

    title: ClassVar[str] = "UCE"
    summary: ClassVar[str] = "edits what cross-attention reads in a word: closed form, no training"

    def map(self, words: WordBank, layers: Sequence[nn.Linear]) -> Tensor:
        return self.redirect(words.forget, words)
