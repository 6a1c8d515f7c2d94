"""The class embeddings of a network: what a label is to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from efface.diffusion.denoiser import ClassDenoiser


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
