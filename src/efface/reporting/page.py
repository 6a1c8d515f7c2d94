"""One self-contained HTML page about one run or several."""

import base64
import contextlib
import functools
import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from efface.errors import DataError
from efface.evaluation import wording
from efface.files import write_whole
from efface.records import ForgottenImage, Matrix
from efface.reporting import attack_words, comparison, resistance
from efface.reporting.charts import Chart
from efface.reporting.facts import FactSheet, fact_sheets, protocols
from efface.reporting.pareto import pareto_figures
from efface.reporting.recorded_curves import name_model, recorded_chart, whiskers
from efface.reporting.run_folder import Run, read_run
from efface.reporting.verdict import Verdict, judge_run

HERE = Path(__file__).parent
GENERATOR, HEAD = b'<meta name="generator" content="efface">', 1000  # what a report begins with
STYLES = ("report.css", "figures.css", "print.css")
OTHERS = {  # fields of results that not every run has, and the titles of their columns
    "baseline_one_step": "Original, one step",
    "retrained": "Retrained",
    "distilled": "Distilled",
    "unseen": "Unseen images",
}
GRIDS = ("baseline", "result", "retrained")  # models of which labels seen are shown
MOST_LABELS = 12  # of rows and columns; the others fold into a sentence
CALLED = (  # by templates
    *(wording.format_count, wording.format_date, wording.format_interval, wording.format_share),
    *(wording.format_value, wording.number_word, wording.upper_first),
    *(attack_words.read_note, attack_words.tell_attack, attack_words.write_budget),
    *(resistance.find_cost, resistance.has_budget, resistance.own_lines),
    *(comparison.write_difference, comparison.write_figure),
    *(name_model, pareto_figures, recorded_chart, whiskers),
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A run, and what is made of it once and shown in several places."""

    anchor: str
    run: Run
    verdict: Verdict
    columns: dict[str, str]  # beside this model and the original one, by field of a result
    images: list[tuple[int, ForgottenImage]]
    curves: list[Chart | None]
    protocols: list[FactSheet]
    sheets: list[FactSheet]


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write the page about these run folders to `out`, atomically; returns it.

    Raises DataError for a folder that is no run or a file at `out` that is no report, RequestError
    for a page that cannot be written.
    """
    if not runs:
        raise DataError("no run was given to report on: give the folder of at least one.")
    require_replaceable(out, runs)
    sections = [_section(read_run(Path(run)), n) for n, run in enumerate(runs, start=1)]
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


def _section(run: Run, number: int) -> Section:
    record, evaluation = run.record, run.evaluation
    results = [result.model_dump(include=set(OTHERS)) for result in evaluation.results]
    return Section(
        anchor=f"run-{number}",
        run=run,
        verdict=judge_run(record, evaluation, run.names, run.attacks),
        columns={field: title for field, title in OTHERS.items() if any(r[field] for r in results)},
        images=known_best_first(evaluation.images),
        curves=[recorded_chart(curve) for curve in evaluation.curves],
        protocols=protocols(run),
        sheets=fact_sheets(record),
    )


def known_best_first(images: Sequence[ForgottenImage]) -> list[tuple[int, ForgottenImage]]:
    """Forgotten images with their numbers: those still copied, then those of the lowest loss."""

    def what_is_left(numbered: tuple[int, ForgottenImage]) -> tuple[int, float]:
        _, image = numbered
        return -image.copies, image.loss if math.isfinite(image.loss) else math.inf

    return sorted(enumerate(images, start=1), key=what_is_left)


def choose_labels(matrix: Matrix, forgotten: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows and columns to show: the forgotten labels and the first others, and what was seen most.

    Both are positions in the matrix, in its order.
    """
    order = sorted(range(len(matrix.labels)), key=lambda row: matrix.labels[row] not in forgotten)
    rows = sorted(order[:MOST_LABELS])

    def most(column: int) -> float:
        shares = [shares[row][column] for shares in matrix.shares.values() for row in rows]
        return max(filter(math.isfinite, shares), default=0.0)

    columns = sorted(range(len(matrix.seen)), key=most, reverse=True)[:MOST_LABELS]
    return rows, sorted(columns)


def render_page(sections: Sequence[Section]) -> str:
    """Write the page as text: a pure function of the sections."""
    script = (HERE / "report.js").read_text(encoding="utf-8")
    runs = [section.run for section in sections]
    outcomes = [section.verdict.summary for section in sections]
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            sections=sections,
            single=len(sections) == 1,
            bases=comparison.compare_runs(runs, outcomes) if len(sections) > 1 else [],
            policy=content_policy(script),
            script=Markup(script),  # ours, as is: its hash is in the policy
        )
    )


def templates_of(folder: Path) -> jinja2.Environment:
    """Templates of pages, in which all text is escaped and nothing may be missing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = "".join((HERE / name).read_text(encoding="utf-8") for name in STYLES)
    environment.globals["style"] = Markup(style)
    return environment


@functools.cache
def _environment() -> jinja2.Environment:
    environment = templates_of(HERE)
    environment.globals |= {
        "icons": {"good": "✓", "warn": "!", "bad": "✕"},
        "directions": comparison.DIRECTIONS,
        "attack_marks": attack_words.MARKS,
        "DASH": wording.DASH,
        "GRIDS": GRIDS,
        **{write.__name__: write for write in (*CALLED, choose_labels)},
    }
    environment.filters |= {"shorten": wording.shorten, "format_count": wording.format_count}
    return environment


def content_policy(script: str) -> str:
    """Nothing from the network, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
