"""Labels and prompts alike: learned, or exchanged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from efface.diffusion.denoiser import ClassDenoiser, Condition, Denoiser, as_class_denoiser
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.prompts import PromptEncoder

EMBEDDINGS = ("encoder_hidden_states", "text_embeds", "pooled_projections")


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


def tables(network: nn.Module) -> dict[str, nn.Embedding]:
    """Class embeddings by name: one in a `UNet2DModel`, one per block in a DiT."""
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Embedding)}


class LearnedRows(nn.Module):
    """A frozen class embedding in which the rows of `labels` are parameters.

    They start at the mean of the rows `start`, which belong to labels that an attacker may use.
    """

    def __init__(self, table: nn.Embedding, labels: Sequence[int], start: Sequence[int]) -> None:
        super().__init__()
        weight = table.weight.detach()
        self.register_buffer("weight", weight.clone())
        self.register_buffer("labels", torch.tensor(labels, device=weight.device))
        self.scale = float(weight[list(start)].square().mean().sqrt())  # of one entry
        self.rows = nn.Parameter(weight[list(start)].mean(0).repeat(len(labels), 1))

    def forward(self, labels: Tensor) -> Tensor:
        table = self.get_buffer("weight").index_copy(0, self.get_buffer("labels"), self.rows)
        return nn.functional.embedding(labels, table)


def with_learned_rows(
    denoiser: ClassDenoiser, labels: Sequence[int], start: Sequence[int]
) -> tuple[ClassDenoiser, list[LearnedRows]]:
    """A frozen copy of the model in which learned vectors stand for `labels`."""
    copied = denoiser.clone().frozen()
    learned = []
    for name, table in tables(copied.network).items():
        learned.append(LearnedRows(table, labels, start))
        copied.network.set_submodule(name, learned[-1])
    return copied, learned


def with_exchanged_labels(
    denoiser: ClassDenoiser, pairs: Sequence[tuple[int, int]]
) -> ClassDenoiser:
    """A frozen copy of the model in which both labels of each pair mean each other."""
    copied = denoiser.clone().frozen()
    for table in tables(copied.network).values():
        rows = table.weight.data
        for one, other in pairs:
            rows[[one, other]] = rows[[other, one]].clone()
    return copied


class ChangedPrompts(PromptEncoder):
    """Prompts that a model takes for something else; all but `encode` is as it was."""

    def __init__(self, prompts: PromptEncoder) -> None:
        self._prompts = prompts

    def check(self, prompts: Sequence[str]) -> None:
        self._prompts.check(prompts)

    def null(self, negative_prompt: str | None) -> Condition:
        return self._prompts.null(negative_prompt)

    def free(self) -> None:
        self._prompts.free()

    def to(self, device: torch.device | str) -> PromptEncoder:
        self._prompts.to(device)
        return self


class ExchangedPrompts(ChangedPrompts):
    """Some prompts are taken for others."""

    def __init__(self, prompts: PromptEncoder, meant: Mapping[str, str]) -> None:
        super().__init__(prompts)
        self._meant = meant

    def encode(self, prompts: Sequence[str]) -> Condition:
        return self._prompts.encode([self._meant.get(prompt, prompt) for prompt in prompts])


class LearnedPrompt(ChangedPrompts):
    """Every prompt is taken for one condition, whose embeddings are parameters.

    They start at those of the prompt `start`, which an attacker may use. Masks and sizes are fixed.
    """

    def __init__(self, prompts: PromptEncoder, start: str, device: torch.device) -> None:
        super().__init__(prompts)
        tensors = prompts.encode([start]).to(device).tensors
        self._fixed = {n: t for n, t in tensors.items() if n not in EMBEDDINGS}
        self.learned = {n: nn.Parameter(t.clone()) for n, t in tensors.items() if n in EMBEDDINGS}

    def encode(self, prompts: Sequence[str]) -> Condition:
        rows: dict[str, Tensor] = {**self.learned, **self._fixed}
        return Condition({n: t.expand(len(prompts), *t.shape[1:]) for n, t in rows.items()})


def with_learned_prompt(
    denoiser: TextDenoiser, start: str
) -> tuple[TextDenoiser, list[nn.Parameter]]:
    """A frozen copy of the model in which one learned condition stands for every prompt."""
    prompts = LearnedPrompt(denoiser.prompts, start, denoiser.device)
    return replace(denoiser.clone().frozen(), prompts=prompts), list(prompts.learned.values())


def with_exchanged_prompts(
    denoiser: TextDenoiser, pairs: Sequence[tuple[str, str]]
) -> TextDenoiser:
    """The same model, but that both prompts of each pair mean each other."""
    meant = {one: other for pair in pairs for one, other in (pair, pair[::-1])}
    return replace(denoiser, prompts=ExchangedPrompts(denoiser.prompts, meant))
