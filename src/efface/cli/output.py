"""What commands say on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer


def tell(run: Path) -> None:
    """The verdict of a run, where it was measured, and where to look."""
    if (run / "evaluation.json").exists():
        from efface.records import read_attacks, read_evaluation, read_record
        from efface.reporting import judge_run

        verdict = judge_run(read_record(run), read_evaluation(run), attacks=read_attacks(run))
        say(verdict.headline)
        say(verdict.judgements[-1].text)  # what it cost
        say(f"report: {run / 'report.html'}")
    say(f"model: {run / 'pipeline'}")


def show(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table of plain text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def say(text: str) -> None:
    typer.echo(text)
