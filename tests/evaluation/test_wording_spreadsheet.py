"""CSV: what a spreadsheet would run is text, and numbers stay numbers."""

from __future__ import annotations

import csv
import io

import pytest

from efface.evaluation.wording import as_csv


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=cmd|"/c"!A1'])
def test_a_formula_begins_with_an_apostrophe(evil: str):
    (row,) = read(as_csv([{"name": evil, "names": [evil, None]}]))
    assert row["name"].startswith("'") and row["names"].startswith("'")
    assert row["name"][1:].lstrip("\ufffd") == evil.lstrip("\t\r")


def test_numbers_stay_numbers_and_lists_are_joined():
    (row,) = read(as_csv([{"a": -1.5, "b": None, "c": [1, None, "x"]}]))
    assert row == {"a": "-1.5", "b": "", "c": "1; ; x"}


def test_lines_and_quotes_stay_in_their_cell():
    (row,) = read(as_csv([{"a": 'x "y", z', "b": "two\nlines"}]))
    assert row["a"] == 'x "y", z' and "\n" not in row["b"]
    assert as_csv([]) == "\n"
