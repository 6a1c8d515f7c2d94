"""One self-contained HTML page about one run or several."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from efface.errors import DataError
from efface.files import write_whole
from efface.reporting.overview import BaseOverview, overviews
from efface.reporting.run_folder import read_run
from efface.reporting.sections import Section, make_section

HERE = Path(__file__).parent
GENERATOR, HEAD = b'<meta name="generator" content="efface">', 1000  # what a report begins with
STYLES = ("report.css", "figures.css", "print.css")


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write the page about these run folders to `out`, atomically; returns it.

    Raises DataError for a folder that is no run or a file at `out` that is no report, RequestError
    for a page that cannot be written.
    """
    if not runs:
        raise DataError("no run was given to report on: give the folder of at least one.")
    require_replaceable(out, runs)
    sections = [make_section(read_run(Path(run)), n) for n, run in enumerate(runs, start=1)]
    page = render_page(sections)
    out = Path(out)
    # Names may hold halves of surrogate pairs, which UTF-8 cannot write.
    write_whole(out, page.encode("utf-8", "replace"), "report")
    return out


def require_replaceable(out: Path, runs: Sequence[Path]) -> None:
    """Raise DataError where something is at `out` that efface did not write.

    The `report.html` of a run's own folder may always be written; a folder fails when written to.
    """
    own = [Path(run) / "report.html" for run in runs]
    if not os.path.lexists(out) or os.path.isdir(out) or Path(out) in own:
        return
    with contextlib.suppress(OSError), open(out, "rb") as file:
        if GENERATOR in file.read(HEAD):
            return
    raise DataError(
        f"{out} exists and is no report of efface: nothing there was touched. Give another file, "
        "or move it away."
    )


def render_page(sections: Sequence[Section]) -> str:
    """Write the page as text: a pure function of the sections."""
    script = (HERE / "report.js").read_text(encoding="utf-8")
    bases: list[BaseOverview] = overviews(sections) if len(sections) > 1 else []
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            sections=sections,
            single=len(sections) == 1,
            bases=bases,
            policy=content_policy(script),
            script=Markup(script),  # ours, as is: its hash is in the policy
            style=Markup("".join((HERE / name).read_text(encoding="utf-8") for name in STYLES)),
        )
    )


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["icons"] = {"good": "✓", "warn": "!", "bad": "✕"}
    return environment


def content_policy(script: str) -> str:
    """Nothing from the network, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
