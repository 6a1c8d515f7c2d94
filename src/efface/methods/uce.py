"""UCE: cross-attention reads a concept as its replacement, in closed form."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from efface.data.batch import WordBank
from efface.methods.closed_form import Editor


@dataclass(frozen=True, kw_only=True)
class UCE(Editor):
    """Unified concept editing (Gandikota et al., WACV 2024) of a concept's words."""

    title: ClassVar[str] = "UCE"
    summary: ClassVar[str] = "edits what cross-attention reads in a word: closed form, no training"
    as_published: ClassVar[Mapping[str, Any]] = {
        "method.change_weight": 0.5,
        "method.forget_weight": 1.0,
        "method.retain_weight": 1.0,
    }
    repaired: ClassVar[str] = "for FLUX it counts the bias of two layers twice"

    def map(self, words: WordBank, layers: Sequence[nn.Linear]) -> Tensor:
        return self.redirect(words.forget, words)
