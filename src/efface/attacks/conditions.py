"""Labels and prompts alike: learned anew, exchanged, always the same one, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from efface.attacks.labels import asking_label, with_learned_rows, with_swapped_labels
from efface.attacks.prompts import with_exchanged_prompts, with_learned_prompt
from efface.diffusion.denoiser import ClassDenoiser, Denoiser, as_class_denoiser
from efface.diffusion.text.denoiser import TextDenoiser


@dataclass(frozen=True, eq=False, kw_only=True)
class Learned:
    """What may move of a frozen model; `scale` is the size of one entry."""

    rows: nn.Parameter
    scale: float


def with_learned_condition(
    denoiser: Denoiser, sought: Sequence[Any], others: Sequence[Any]
) -> tuple[Denoiser, list[Learned]]:
    """A frozen copy of the model in which what `sought` asks for is learned, from `others` on."""
    if isinstance(denoiser, TextDenoiser):
        copied, rows = with_learned_prompt(denoiser, others[0])
        return copied, [
            Learned(rows=row, scale=float(row.detach().square().mean().sqrt())) for row in rows
        ]
    copied, tables = with_learned_rows(as_class_denoiser(denoiser), sought, others)
    return copied, [Learned(rows=table.rows, scale=table.scale) for table in tables]


def with_exchanged_conditions(denoiser: Denoiser, pairs: Sequence[tuple[Any, Any]]) -> Denoiser:
    """The model as it is, but that both of each pair mean each other."""
    if isinstance(denoiser, TextDenoiser):
        return with_exchanged_prompts(denoiser, pairs)
    for one, other in pairs:
        denoiser = with_swapped_labels(as_class_denoiser(denoiser), one, other)
    return denoiser


def asking(denoiser: Denoiser, question: Any) -> Denoiser:
    """The model with its question fixed, for what asks none."""
    if isinstance(denoiser, TextDenoiser):
        return denoiser.with_prompt(question)
    return asking_label(as_class_denoiser(denoiser), question)


def has_null(denoiser: Denoiser) -> bool:
    """Whether a model can be asked for nothing: all but class models without a null label."""
    return not isinstance(denoiser, ClassDenoiser) or denoiser.null_label is not None


def asking_nothing(denoiser: Denoiser) -> Denoiser:
    """The model always asked for nothing, which a negative prompt does not change."""
    if isinstance(denoiser, TextDenoiser):
        return denoiser.with_prompt(None).with_negative_prompt(None)
    classes = as_class_denoiser(denoiser)
    return asking_label(classes, classes.require_null())
