"""Reads everything of a run folder that the report shows."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, Field, ValidationError, model_validator

from efface.errors import DataError
from efface.records import (
    Attacks,
    Evaluation,
    RunRecord,
    read_attacks,
    read_evaluation,
    read_record,
)


class Grid(BaseModel):
    """`samples/grid.json`: one row per label or prompt, one column per noise seed.

    Unconditional samples have no labels, and one cell per noise seed.
    """

    labels: list[int]
    names: list[str]  # of the rows
    rows: int = Field(default=1, ge=1)  # of unconditional samples
    columns: int = Field(ge=1)
    asked: Literal["label", "prompt"] = "label"  # what a row is conditioned on
    forgotten: list[int]
    tile: int = Field(ge=1)
    before: str
    after: str
    copies_before: list[int] = []  # cells that copy a forgotten image, counted along the rows
    copies_after: list[int] = []

    @model_validator(mode="after")
    def _check(self) -> "Grid":
        if len(self.names) != len(self.labels):
            raise ValueError("one name per label")
        self.rows = len(self.labels) or self.rows
        cells = range(self.rows * self.columns)
        if not all(cell in cells for cell in (*self.copies_before, *self.copies_after)):
            raise ValueError("a copy outside of the sheet")
        return self


STRIP_TILES = 3  # of a forgotten image: itself, and what the two models make of it


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A PNG image as a data URI, and its size in pixels."""

    source: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Sheets:
    """Samples before and after, of equal size."""

    grid: Grid
    before: Sheet
    after: Sheet


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as the report sees it."""

    name: str
    record: RunRecord
    evaluation: Evaluation
    sheets: Sheets | None
    strips: Sheet | None  # `samples/images.png`: a row of STRIP_TILES tiles per forgotten image
    attacks: Attacks | None

    @property
    def names(self) -> dict[int, str]:
        """Names of the labels, where there are any."""
        grid = None if self.sheets is None else self.sheets.grid
        return {} if grid is None else dict(zip(grid.labels, grid.names, strict=True))

    @property
    def forgotten(self) -> list[Any]:
        """The labels that were forgotten, where samples are shown by label."""
        return listed(self.record.request.get("labels"))

    @property
    def image_names(self) -> list[str]:
        """What the forgotten images are called, in the order of the strips."""
        return [str(name) for name in listed(self.record.material.get("names"))]


def listed(given: Any) -> list[Any]:
    """What is recorded as a list; a record may hold any JSON in its place."""
    return list(given) if isinstance(given, (list, tuple)) else []


def read_run(folder: Path) -> Run:
    """Read a run folder, of which only the record must exist; DataError for what is not ours."""
    record = read_record(folder)
    measured = (folder / "evaluation.json").exists()
    return Run(
        name=folder.resolve().name,
        record=record,
        evaluation=read_evaluation(folder) if measured else Evaluation(results=[]),
        sheets=read_sheets(folder / "samples"),
        strips=read_strips(folder / "samples" / "images.png"),
        attacks=read_attacks(folder),
    )


def read_sheets(folder: Path) -> Sheets | None:
    """Read the before and after grids; None where any of the three files is missing."""
    paths = [folder / name for name in ("grid.json", "before.png", "after.png")]
    if not all(path.exists() for path in paths):
        return None
    try:
        grid = Grid.model_validate_json(_read_bytes(paths[0]))
    except ValidationError as error:
        raise _unfit(f"{paths[0]} does not describe the images beside it") from error
    before, after = (read_sheet(path) for path in paths[1:])
    if (before.width, before.height) != (after.width, after.height):
        raise _unfit(f"before.png and after.png in {folder} differ in size")
    return Sheets(grid=grid, before=before, after=after)


def read_strips(path: Path) -> Sheet | None:
    """Read what the models make of the forgotten images; None where it is missing."""
    if not path.exists():
        return None
    sheet = read_sheet(path)
    tile, rest = divmod(sheet.width, STRIP_TILES)
    if rest or sheet.height % tile:
        raise _unfit(f"{path} is not {STRIP_TILES} square images wide")
    return sheet


def read_sheet(path: Path) -> Sheet:
    """Read what Pillow verifies to be a PNG."""
    content = _read_bytes(path)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            width, height = image.size
            image.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unfit(f"{path} is no sound PNG image") from error
    source = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
    return Sheet(source=source, width=width, height=height)


def _unfit(what: str) -> DataError:
    return DataError(f"{what}: write it again with `efface evaluate`.")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): mend or remove it.") from error
