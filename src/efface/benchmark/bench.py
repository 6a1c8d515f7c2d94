"""Compare methods fairly: the runs of a benchmark's file, and what is written of them."""

from __future__ import annotations

import contextlib
import datetime
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from efface.benchmark.checkout import checked_out
from efface.benchmark.engine import run_all
from efface.benchmark.file import BenchFile, MethodRow, read_file
from efface.benchmark.page import render
from efface.benchmark.results import Bench, BenchRun, Tried, make_rows, read_bench_run
from efface.benchmark.rows import Job, plan_jobs
from efface.benchmark.strength import choose, chosen_value
from efface.benchmark.tables import as_markdown, as_table_csv
from efface.benchmark.work import is_done
from efface.errors import RequestError, Stopped
from efface.files import write_whole
from efface.records import write_json
from efface.runs.folder import hardware, versions
from efface.runs.lock import locked
from efface.runs.place import content_of

COPY = "bench.toml"  # in the folder: the file, and the mark that it is a benchmark's
RUNS = "runs"
LOST = "every value of its strength failed or collapsed on the selection"


def bench(file: str | Path, out: str | Path, *, jobs: int = 1, cluster: str | None = None) -> Bench:
    """Carry out the runs of a benchmark's file and write `bench.json`, tables and a page to `out`.

    Runs lie in `out`/runs, named by their content: those that are done are not done again, and one
    that was stopped goes on. `jobs` are processes of this machine; `cluster` is the address of a
    Dask scheduler, whose workers see `out` under the same path. A run that fails is reported with
    the reason. Raises an EffaceError for mistakes, before any run where that is possible.
    """
    command = f"efface bench {file} --out {out}"
    found, out = read_file(file), Path(out).absolute()
    check_out(out)
    planned = plan_jobs(found)
    runs = out / RUNS
    with locked(out), _resumable(out):
        write_whole(out / COPY, Path(file).read_bytes(), "benchmark")
        done, tried = _carry_out(found, planned, runs, jobs, cluster)
        result = _report(found, done, tried, command)
        _write(result, out)
    return result


@contextlib.contextmanager
def _resumable(out: Path) -> Iterator[None]:
    """Let whoever stops a benchmark know how it goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        number = stop.signal if isinstance(stop, Stopped) else signal.SIGINT
        raise Stopped(f"stopped; the same command goes on with {out}", number) from stop


def check_out(out: Path) -> None:
    """Raise RequestError for a folder that holds something else than a benchmark."""
    if not out.exists() or (out / COPY).is_file():
        return
    if not out.is_dir() or content_of(out):
        raise RequestError(
            f"{out} exists and is no benchmark: nothing there was touched. Give another folder."
        )


def _carry_out(
    file: BenchFile, planned: Sequence[Job], runs: Path, processes: int, cluster: str | None
) -> tuple[list[BenchRun], list[Tried]]:
    """First all that does not wait for a strength, then what was chosen."""
    searched = {row.name: row for row in file.method if row.strength is not None}
    at_once = [job for job in planned if job.selection or job.row not in searched]
    failed = run_all(at_once, runs, processes=processes, cluster=cluster)
    done = [read_bench_run(job, runs, failed.get(job.digest)) for job in at_once]
    tried = {name: choose(row, done) for name, row in searched.items()}
    values = {name: chosen_value(own) for name, own in tried.items()}
    later = [job for job in planned if job not in at_once and job.value == values[job.row]]
    failed = run_all(later, runs, processes=processes, cluster=cluster)
    done += [read_bench_run(job, runs, failed.get(job.digest)) for job in later]
    done += _lost(planned, values)
    return done, [one for own in tried.values() for one in own]


def _lost(planned: Sequence[Job], values: Mapping[str, object]) -> list[BenchRun]:
    """A run that was not made for each row of which no value can be reported."""
    first = {job.row: job for job in reversed(planned) if not job.selection}
    runs = Path()  # none is read
    return [
        read_bench_run(first[name], runs, LOST) for name, value in values.items() if value is None
    ]


def _report(
    file: BenchFile, runs: Sequence[BenchRun], tried: Sequence[Tried], command: str
) -> Bench:
    order = [row.name for row in file.method]
    rows = make_rows(runs)
    rows.sort(key=lambda row: order.index(row.name) if row.name in order else -1)
    return Bench(
        file=file.model_dump(mode="json"),
        command=command,
        commit=checked_out(),
        date=datetime.date.today().isoformat(),
        machine=hardware() | versions(),
        seeds=list(file.seeds),
        rows=rows,
        tried=list(tried),
        runs=list(runs),
    )


def _write(bench: Bench, out: Path) -> None:
    write_json(out / "bench.json", bench)
    contents = {
        "table.md": as_markdown(bench),
        "table.csv": as_table_csv(bench),
        "bench.html": render(bench),
    }
    for name, text in contents.items():
        write_whole(out / name, text.encode("utf-8", "replace"), "benchmark")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Runs of a row: those that are done, and those that are left."""

    row: str
    what: str
    steps: str
    done: int
    left: int


def dry_run(file: str | Path, out: str | Path) -> list[Forecast]:
    """The runs that `bench` would make; nothing is written.

    A row with a strength has those of the value that its selection chose, once that was carried
    out.
    """
    found, out = read_file(file), Path(out).absolute()
    check_out(out)
    planned, runs = plan_jobs(found), out / RUNS
    groups: dict[tuple[str, str], list[Job]] = {}
    for row in found.method:
        if row.strength is not None:
            own = [job for job in planned if job.row == row.name]
            planned = [job for job in planned if job.row != row.name]
            planned += [job for job in own if job.selection]
            groups |= {(row.name, "reported"): _foreseen(row, own, runs)}
    for job in planned:
        value = "" if job.value is None else f" at {job.value}"
        what = f"selection{value}" if job.selection else "reported"
        groups.setdefault((job.row, what), []).append(job)
    order = ["selection", "reported"]
    return [
        Forecast(
            row=row,
            what=what,
            steps=", ".join(map(str, sorted({job.steps for job in jobs}))),
            done=sum(is_done(job, runs) for job in jobs),
            left=sum(not is_done(job, runs) for job in jobs),
        )
        for (row, what), jobs in sorted(
            groups.items(), key=lambda one: order.index(one[0][1].split()[0])
        )
    ]


def _foreseen(row: MethodRow, jobs: Sequence[Job], runs: Path) -> list[Job]:
    """The jobs that are reported: of the value that was chosen, or else of the first."""
    selection = [job for job in jobs if job.selection]
    value = row.values[0]
    if all(is_done(job, runs) for job in selection):
        value = chosen_value(choose(row, [read_bench_run(job, runs, None) for job in selection]))
    return [job for job in jobs if not job.selection and job.value == value]
