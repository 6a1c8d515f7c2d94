"""RECE: UCE, then again for whatever the edited layers still read as the concept."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from efface.data.batch import WordBank
from efface.methods.closed_form import Editor, on_cpu


@dataclass(frozen=True, kw_only=True)
class RECE(Editor):
    """Reliable and efficient concept erasure (Gong et al., ECCV 2024).

    Each round finds the input that the edited layers take where the original ones took the concept,
    and redirects it too. The number of rounds is set beforehand: nothing is sampled or measured.
    """

    rounds: int = Field(default=1, ge=1, le=100, description="Times that the concept is sought.")
    norm_weight: float = Field(
        default=0.1, ge=1e-9, le=1e6, description="Weight of the norm of what is sought; mu."
    )
    change_weight: float = Field(
        default=0.1, ge=1e-9, le=1e6, description="Weight of the change of the weights; lambda."
    )
    retain_weight: float = Field(
        default=0.1, ge=0, le=1e6, description="Weight of each retained word; beta."
    )

    title: ClassVar[str] = "RECE"
    summary: ClassVar[str] = "UCE, repeated for inputs that bring the concept back; no training"
    as_published: ClassVar[Mapping[str, Any]] = {
        "method.change_weight": 0.1,
        "method.retain_weight": 0.1,
        "method.norm_weight": 0.1,
        "method.rounds": 3,
    }
    repaired: ClassVar[str] = "keeps the round with the best rate of the detector that is reported"

    def map(self, words: WordBank, layers: Sequence[nn.Linear]) -> Tensor:
        mapping = self.redirect(words.forget, words)
        gram = torch.zeros_like(mapping)
        for weight in map(on_cpu, layers):
            gram += weight.T @ weight
        for _ in range(self.rounds):
            found = recreate(words.forget, mapping, gram, self.norm_weight)
            mapping = mapping @ self.redirect(found, words)
        return mapping


def recreate(concept: Tensor, mapping: Tensor, gram: Tensor, norm_weight: float) -> Tensor:
    """Inputs c' (N, D) that minimise sum_l |W_l T c' - W_l c|^2 + mu |c'|^2 for each c (N, D).

    `gram` is the sum of W_l^T W_l over all layers.
    """
    edited = mapping.T @ gram @ mapping
    one = torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(edited + norm_weight * one, mapping.T @ gram @ concept.T).T
