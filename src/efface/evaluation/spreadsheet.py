"""CSV that a spreadsheet opens without running any of it."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from efface.evaluation.wording import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def as_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """One line per record; a text that a spreadsheet would run as a formula begins with '."""
    file = io.StringIO()
    rows = [{name: _cell(value) for name, value in record.items()} for record in records]
    writer = csv.DictWriter(file, rows[0] if rows else (), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join("" if v is None else str(v) for v in value)
    if not isinstance(value, str):
        return value
    inert = f"'{value}" if value.startswith(FORMULA) else value
    return printable(inert)
