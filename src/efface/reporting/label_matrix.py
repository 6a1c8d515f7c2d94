"""Which labels a classifier saw in samples of each label, before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from efface.evaluation.wording import format_count, format_share, shorten
from efface.records import Matrix
from efface.reporting.recorded_curves import name_model

ORDER = ("baseline", "result", "retrained")
TITLES = {"baseline": "Before", "result": "After"}
LARGEST = 12  # rows and columns that are shown; the others fold into a sentence
ERRORS = 3.0  # standard errors of a difference beyond which a cell has changed


@dataclass(frozen=True, kw_only=True)
class ShareCell:
    """One share: its number in percent, its shade from 0 to 1, and which way it went."""

    text: str
    shade: float
    change: int  # 1 more, -1 less, 0 not beyond chance
    described: str


@dataclass(frozen=True, kw_only=True)
class ShareGrid:
    title: str
    model: str
    rows: list[list[ShareCell]]


@dataclass(frozen=True, kw_only=True)
class LabelFigure:
    """One grid per model, with the same rows and columns."""

    rows: list[str]
    columns: list[str]
    forgotten: set[int]  # rows, by position
    grids: list[ShareGrid]
    left_out: int  # labels that are not shown
    samples: str


def label_figure(
    matrix: Matrix | None, forgotten: Sequence[int], names: Mapping[int, str]
) -> LabelFigure | None:
    """Lay the shares out; None where there are none, or where their shape is not what it says."""
    if matrix is None or not _is_whole(matrix):
        return None
    asked = _choose_rows(matrix, forgotten)
    seen = _choose_columns(matrix, asked)
    labels = [matrix.labels[row] for row in asked]
    before = matrix.shares.get("baseline")
    grids = []
    for model in [m for m in ORDER if m in matrix.shares]:
        compared = before if model != "baseline" else None
        rows = [[_cell(matrix, model, compared, (r, c), names) for c in seen] for r in asked]
        words = name_model(model)
        grids.append(ShareGrid(title=TITLES.get(model, words), model=words, rows=rows))
    counts = sorted({matrix.samples[row] for row in asked})
    return LabelFigure(
        rows=[_name(label, names) for label in labels],
        columns=[_name(matrix.seen[column], names) for column in seen],
        forgotten={n for n, label in enumerate(labels) if label in forgotten},
        grids=grids,
        left_out=len(matrix.labels) - len(asked),
        samples=" to ".join(format_count(n) for n in dict.fromkeys((counts[0], counts[-1]))),
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


def _cell(
    matrix: Matrix,
    model: str,
    before: list[list[float]] | None,
    place: tuple[int, int],
    names: Mapping[int, str],
) -> ShareCell:
    row, column = place
    share = matrix.shares[model][row][column]
    what = (
        f"samples of {_name(matrix.labels[row], names)}, classified as "
        f"{_name(matrix.seen[column], names)}: {format_share(share)}"
    )
    change = 0
    if before is not None:
        was = before[row][column]
        change = _change(was, share, matrix.samples[row])
        what += f", before {format_share(was)}" if change else ""
    shown = math.isfinite(share) and share >= 0.005
    return ShareCell(
        text=f"{100 * share:.0f}" if shown else "",
        shade=round(min(max(share, 0.0), 1.0), 3) if math.isfinite(share) else 0.0,
        change=change,
        described=what,
    )


def _change(before: float, after: float, samples: int) -> int:
    """Which way a share went, where the difference is beyond ERRORS standard errors."""
    if samples < 1 or not (math.isfinite(before) and math.isfinite(after)):
        return 0
    pooled = min(max((before + after) / 2, 0.0), 1.0)
    error = math.sqrt(2 * pooled * (1 - pooled) / samples)
    if abs(after - before) <= ERRORS * error:
        return 0
    return 1 if after > before else -1


def _name(label: int, names: Mapping[int, str]) -> str:
    return shorten(names.get(label, str(label)))
