"""What the words of a request say of a run, without the rest of a report."""

from __future__ import annotations

from efface.records import Evaluation, RunRecord
from efface.requests import words_of


def limits(record: RunRecord, evaluation: Evaluation) -> str:
    return " ".join(words_of(record.request).limits(record, evaluation))
