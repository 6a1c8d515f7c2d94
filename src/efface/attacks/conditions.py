"""Labels and prompts alike: learned, or exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from efface.attacks.labels import with_exchanged_labels, with_learned_rows
from efface.attacks.prompts import with_exchanged_prompts, with_learned_prompt
from efface.diffusion.denoiser import ClassDenoiser, Denoiser, as_class_denoiser
from efface.diffusion.text.denoiser import TextDenoiser


@dataclass(frozen=True, eq=False, kw_only=True)
class Learned:
    """Parameters of a model that is frozen otherwise; `scale` is the size of one entry."""

    rows: nn.Parameter
    scale: float


def with_learned_condition(
    denoiser: Denoiser, sought: Sequence[Any], others: Sequence[Any]
) -> tuple[Denoiser, list[Learned]]:
    """A frozen copy of the model in which the conditions `sought` are learned, from `others` on."""
    if isinstance(denoiser, TextDenoiser):
        copied, rows = with_learned_prompt(denoiser, others[0])
        return copied, [
            Learned(rows=row, scale=float(row.detach().square().mean().sqrt())) for row in rows
        ]
    copied, tables = with_learned_rows(as_class_denoiser(denoiser), sought, others)
    return copied, [Learned(rows=table.rows, scale=table.scale) for table in tables]


def with_exchanged_conditions(denoiser: Denoiser, pairs: Sequence[tuple[Any, Any]]) -> Denoiser:
    """The same model, but that both conditions of each pair mean each other."""
    if isinstance(denoiser, TextDenoiser):
        return with_exchanged_prompts(denoiser, pairs)
    return with_exchanged_labels(as_class_denoiser(denoiser), pairs)


def has_null(denoiser: Denoiser) -> bool:
    """Whether a model has a null condition: all but class models without a null label."""
    return not isinstance(denoiser, ClassDenoiser) or denoiser.null_label is not None
