"""What a run has much of, as its request says: the estimate of memory knows no kind of request."""

from __future__ import annotations

from dataclasses import dataclass

from efface.settings.base import Settings


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Rows, prompts, and bytes that come and go beside what every run holds.

    `preparation` is held beside what is loaded before training begins; `models` are measured at
    once. `guided` are networks that are guided in some rows whatever the method says.
    """

    forget_rows: int  # of a whole batch
    prompts: int = 0  # held encoded
    preparation: int = 0
    models: int = 2
    guided: frozenset[str] = frozenset()


def forget_rows(settings: Settings) -> int:
    """Rows to forget in a whole batch, as many as the method takes."""
    return round(settings.method.forget_share * settings.train.batch_size)
