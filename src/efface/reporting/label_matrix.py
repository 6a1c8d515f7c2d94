"""Which labels a classifier saw in samples of each label, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from efface.records import Matrix

ORDER = ("baseline", "result", "retrained")
LARGEST = 12  # rows and columns that are shown; the others fold into a sentence
ERRORS = 3.0  # standard errors of a difference beyond which a cell has changed


@dataclass(frozen=True, kw_only=True)
class LabelFigure:
    """One grid per model, with the same rows and columns: positions in the matrix."""

    matrix: Matrix
    models: list[str]
    rows: list[int]
    columns: list[int]

    @property
    def samples(self) -> list[int]:
        """The least and the greatest count of a row; one, where all are equal."""
        counts = [self.matrix.samples[row] for row in self.rows]
        return sorted({min(counts), max(counts)})

    def change(self, model: str, row: int, column: int) -> int:
        """1 for more than before, -1 for less, 0 where chance explains the difference."""
        before = self.matrix.shares.get("baseline")
        if model == "baseline" or before is None:
            return 0
        was, share = before[row][column], self.matrix.shares[model][row][column]
        samples = self.matrix.samples[row]
        if samples < 1 or not (math.isfinite(was) and math.isfinite(share)):
            return 0
        pooled = min(max((was + share) / 2, 0.0), 1.0)
        error = math.sqrt(2 * pooled * (1 - pooled) / samples)
        if abs(share - was) <= ERRORS * error:
            return 0
        return 1 if share > was else -1


def label_figure(matrix: Matrix | None, forgotten: Sequence[int]) -> LabelFigure | None:
    """Choose what is shown; None where there is nothing, or of another shape than it says."""
    if matrix is None or not _is_whole(matrix):
        return None
    rows = _choose_rows(matrix, forgotten)
    return LabelFigure(
        matrix=matrix,
        models=[model for model in ORDER if model in matrix.shares],
        rows=rows,
        columns=_choose_columns(matrix, rows),
    )


def _is_whole(matrix: Matrix) -> bool:
    rows, columns = len(matrix.labels), len(matrix.seen)
    return (
        rows > 0
        and columns > 0
        and len(matrix.samples) == rows
        and any(model in matrix.shares for model in ORDER)
        and all(
            len(shares) == rows and all(len(row) == columns for row in shares)
            for shares in matrix.shares.values()
        )
    )


def _choose_rows(matrix: Matrix, forgotten: Sequence[int]) -> list[int]:
    """The forgotten labels and the first others, in the order of the record."""
    order = sorted(range(len(matrix.labels)), key=lambda row: matrix.labels[row] not in forgotten)
    return sorted(order[:LARGEST])


def _choose_columns(matrix: Matrix, rows: Sequence[int]) -> list[int]:
    """The labels that were seen most under these rows by any model, in the order of the record."""

    def most(column: int) -> float:
        shares = [grid[row][column] for grid in matrix.shares.values() for row in rows]
        return -max((s for s in shares if math.isfinite(s)), default=0.0)

    return sorted(sorted(range(len(matrix.seen)), key=most)[:LARGEST])
