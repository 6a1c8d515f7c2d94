"""One row per forgotten image: what became of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from efface.evaluation.wording import DASH, format_count, format_value, shorten
from efface.records import Evaluation, Picture, Result, RunRecord
from efface.reporting.findings import find_measured
from efface.reporting.run_folder import Run, Strips

SHOWN = 12  # rows before the others fold away
LOSS, COSINE = "loss", "cosine"  # units


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """A forgotten image under the original model and under this one, as text."""

    number: int
    name: str
    loss: tuple[str, str]
    similarity: tuple[str, str]
    copies: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class ImageTable:
    """All forgotten images; first those that the model still knows best."""

    rows: list[ImageRow]
    folded: list[ImageRow]
    unseen_loss: str
    unseen_similarity: str
    samples: str

    @property
    def has_unseen(self) -> bool:
        return (self.unseen_loss, self.unseen_similarity) != (DASH, DASH)


@dataclass(frozen=True, kw_only=True)
class StripFigure:
    """The forgotten images and what the models make of them; a caption per row."""

    strips: Strips
    captions: list[str]


def strip_figure(run: Run) -> StripFigure | None:
    if run.strips is None:
        return None
    names = _names(run.record, run.evaluation)
    rows = range(run.strips.rows)
    captions = [shorten(names[row]) if row < len(names) else "" for row in rows]
    return StripFigure(strips=run.strips, captions=captions)


def _names(record: RunRecord, evaluation: Evaluation) -> list[str]:
    given: Any = record.material.get("names")
    if evaluation.pictures:
        return [picture.name for picture in evaluation.pictures]
    return [str(name) for name in given] if isinstance(given, (list, tuple)) else []


def image_table(evaluation: Evaluation) -> ImageTable | None:
    """Tabulate what was measured of every image; None where nothing was."""
    if not evaluation.pictures:
        return None
    numbered = sorted(enumerate(evaluation.pictures, start=1), key=_by_what_is_left)
    rows = [_row(number, picture) for number, picture in numbered]
    copies = find_measured(evaluation, "copy_rate")
    return ImageTable(
        rows=rows[:SHOWN],
        folded=rows[SHOWN:],
        unseen_loss=_unseen(find_measured(evaluation, "forgotten_loss"), LOSS),
        unseen_similarity=_unseen(find_measured(evaluation, "copy_similarity"), COSINE),
        samples="" if copies is None else format_count(copies.samples),
    )


def _by_what_is_left(numbered: tuple[int, Picture]) -> tuple[int, float]:
    _, picture = numbered
    return -picture.copies, picture.loss if math.isfinite(picture.loss) else math.inf


def _row(number: int, picture: Picture) -> ImageRow:
    return ImageRow(
        number=number,
        name=shorten(picture.name),
        loss=(format_value(picture.loss_baseline, LOSS), format_value(picture.loss, LOSS)),
        similarity=(
            format_value(picture.similarity_baseline, COSINE),
            format_value(picture.similarity, COSINE),
        ),
        copies=(format_count(picture.copies_baseline), format_count(picture.copies)),
    )


def _unseen(result: Result | None, unit: str) -> str:
    if result is None or result.unseen is None:
        return DASH
    return format_value(result.unseen.value, unit)
