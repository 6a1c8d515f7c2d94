"""Which labels a classifier saw in samples of each label, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from efface.records import Matrix

MODELS = ("baseline", "result", "retrained")
LARGEST = 12  # rows and columns that are shown; the others fold into a sentence


@dataclass(frozen=True, kw_only=True)
class LabelFigure:
    """One grid per model, with the same rows and columns: positions in the matrix."""

    matrix: Matrix
    models: list[str]
    rows: list[int]
    columns: list[int]


def label_figure(matrix: Matrix | None, forgotten: Sequence[int]) -> LabelFigure | None:
    """The forgotten labels and the first others, and what was seen most in their samples.

    None where labels were not looked at.
    """
    if matrix is None:
        return None
    models = [model for model in MODELS if model in matrix.shares]
    order = sorted(range(len(matrix.labels)), key=lambda row: matrix.labels[row] not in forgotten)
    rows = sorted(order[:LARGEST])

    def most(column: int) -> float:
        shares = [matrix.shares[model][row][column] for model in models for row in rows]
        return max((s for s in shares if math.isfinite(s)), default=0.0)

    columns = sorted(range(len(matrix.seen)), key=most, reverse=True)[:LARGEST]
    return LabelFigure(matrix=matrix, models=models, rows=rows, columns=sorted(columns))
