"""The demonstration: offline, minutes on two cores, a report at the end."""

from __future__ import annotations

from pathlib import Path

from efface.errors import RequestError
from efface.reporting import write_report
from efface.requests import ForgetClass
from efface.runs import forget

RECIPE = Path(__file__).parent / "zoo" / "digits-sfd.toml"
FORGOTTEN, REPLACEMENT = 0, 1


def run_demo(out: Path, overwrite: bool) -> Path:
    """Forget a digit in `zoo:digits`; returns the report."""
    run = out / "class"
    if run.exists() and not overwrite:
        raise RequestError(f"{run} exists: add --overwrite to replace it, or give another --out.")
    request = ForgetClass(labels=(FORGOTTEN,), replacement=(REPLACEMENT,))
    forget("zoo:digits", request, run, recipe=RECIPE, overwrite=overwrite)
    return write_report([run], out / "report.html")
