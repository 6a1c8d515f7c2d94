"""Which labels a classifier saw in samples of each label, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence

from efface.records import Matrix

MODELS = ("baseline", "result", "retrained")
LARGEST = 12  # rows and columns that are shown; the others fold into a sentence


def choose_labels(matrix: Matrix, forgotten: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows and columns to show: the forgotten labels and the first others, and what was seen most.

    Both are positions in the matrix, in its order.
    """
    order = sorted(range(len(matrix.labels)), key=lambda row: matrix.labels[row] not in forgotten)
    rows = sorted(order[:LARGEST])

    def most(column: int) -> float:
        shares = [shares[row][column] for shares in matrix.shares.values() for row in rows]
        return max((s for s in shares if math.isfinite(s)), default=0.0)

    columns = sorted(range(len(matrix.seen)), key=most, reverse=True)[:LARGEST]
    return rows, sorted(columns)
