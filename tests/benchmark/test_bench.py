"""A benchmark from its file to its page; killed anywhere, it ends in the same figures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.benchmark.bench import LOST, bench, check_out, dry_run
from efface.benchmark.results import Bench
from efface.errors import RequestError, Stopped
from efface.records import parse_record
from tests.benchmark.conftest import HEAD, SHORT, WHOLE, Made, figures, written
from tests.test_guides import blocks_of

File = Callable[[str], Path]
ROOT = Path(__file__).parents[2]


def test_a_benchmark_leaves_json_tables_and_a_page(whole: Made) -> None:
    names = {path.name for path in whole.out.iterdir()}
    assert names == {"bench.toml", "bench.json", "table.md", "table.csv", "bench.html", "runs"}
    rows = whole.bench.rows
    assert [row.name for row in rows] == ["untouched", "retrained", "one step", "redirection"]
    assert [row.trained for row in rows] == [False, False, True, True]
    assert any(row.front for row in rows) and not rows[0].front
    for row in rows[2:]:
        assert row.forwards and row.steps and row.seconds and row.memory
        assert row.steps.value == 2 and not row.failed and row.runs == 1


def test_every_figure_carries_its_spec_and_every_run_its_settings(whole: Made) -> None:
    content = json.loads((whole.out / "bench.json").read_text())
    assert content["schema"] == 1 and content["seeds"] == [10]
    assert content["command"].startswith("efface bench ") and content["machine"]["torch"]
    figure = content["rows"][0]["figures"][0]
    assert figure["spec"]["label"] == "Class rate" and figure["original"] and figure["difference"]
    assert all(run["settings"]["train"]["steps"] == 2 for run in content["runs"])


def test_a_retrained_model_is_a_row_and_stands_beside_the_others(whole: Made) -> None:
    _, retrained, one_step, _ = whole.bench.rows
    assert retrained.from_retrained is not None and retrained.from_retrained.value == 0
    assert one_step.from_retrained is not None and one_step.from_retrained.value > 1
    assert all(figure.retrained for figure in one_step.figures)


def test_the_strength_is_chosen_on_what_is_not_reported(whole: Made) -> None:
    tried = whole.bench.tried
    assert [one.value for one in tried] == [0.5, 0.25] and sum(one.chosen for one in tried) == 1
    chosen = next(one.value for one in tried if one.chosen)
    runs = [run for run in whole.bench.runs if run.row == "redirection"]
    assert {(run.request, run.seed) for run in runs if run.selection} == {("label 5", 100)}
    reported = [run for run in runs if not run.selection]
    assert [(run.request, run.seed, run.value) for run in reported] == [("label 2", 10, chosen)]
    assert whole.bench.rows[-1].strength == chosen


def test_the_same_command_computes_nothing_twice(
    whole: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("forget", "evaluate", "attack"):
        monkeypatch.delattr(f"efface.benchmark.work.{name}")
    assert figures(bench(whole.file, whole.out)) == figures(whole.bench)


def test_a_dry_run_lists_what_is_left_and_writes_nothing(whole: Made, tmp_path: Path) -> None:
    rows = [(row.row, row.what, row.done, row.left) for row in dry_run(whole.file, tmp_path / "x")]
    assert rows == [
        ("redirection", "selection at 0.5", 0, 1),
        ("redirection", "selection at 0.25", 0, 1),
        ("redirection", "reported", 0, 1),
        ("untouched", "reported", 0, 1),
        ("retrained", "reported", 0, 1),
        ("one step", "reported", 0, 1),
    ]
    assert not list(tmp_path.iterdir())
    assert sum(row.left for row in dry_run(whole.file, whole.out)) == 0


def test_a_folder_with_something_else_is_not_touched(short: Made, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RequestError, match="is no benchmark"):
        bench(short.file, tmp_path)
    check_out(tmp_path / "new")
    check_out(short.out)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_that_fails_is_a_row_that_says_why(
    file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: Made
) -> None:
    monkeypatch.setattr(
        "efface.benchmark.engine.work",
        lambda job, runs: "the disk is full" if job.placed is None else None,
    )
    found = bench(file(WHOLE), tmp_path / "out")
    failed = {row.name: row.failed for row in found.rows if row.failed}
    assert failed["one step"] == ["the disk is full"] and failed["redirection"] == [LOST]
    assert "the disk is full" in (tmp_path / "out" / "bench.html").read_text()


def test_the_command_line_says_how_a_stopped_benchmark_goes_on(
    short: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(job: object, runs: Path) -> None:
        raise Stopped("stopped at step 1; add --resume to go on", signal.SIGTERM)

    monkeypatch.setattr("efface.benchmark.engine.work", stop)
    with pytest.raises(Stopped, match="the same command goes on with") as stopped:
        bench(short.file, tmp_path / "out")
    assert stopped.value.signal == signal.SIGTERM


def start(file: Path, out: Path) -> int:
    """A process that carries out a benchmark; returns its id."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        bench(file, out)
        code = 0
    finally:
        os._exit(code)


def kill_when(process: int, ready: Callable[[], bool]) -> bool:
    """Kill a process once something is there; returns whether it was still at work."""
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        if ready():
            os.kill(process, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
        time.sleep(0.002)
    return False


def finished(out: Path) -> dict[str, int]:
    """When the runs that are done began and ended."""
    runs = (path.parent for path in out.glob("runs/*/job.json"))
    files = [run / name for run in runs for name in ("job.json", "record.json", "evaluation.json")]
    return {str(path): path.stat().st_mtime_ns for path in files}


MOMENTS = ("*/checkpoints/step_*", "*/job.json")  # in training, and after a run
FIVE = ("*/pipeline", "*/record.json", "*/checkpoints/step_*1", "*/evaluation.json", "*/job.json")


def go_on(made: Made, out: Path, moment: str, count: int = 1) -> None:
    """Kill a benchmark at a moment, and check that the same command ends it as if nothing was."""
    process = start(made.file, out)
    assert kill_when(process, lambda: len(list((out / "runs").glob(moment))) >= count)
    before = finished(out)
    assert figures(bench(made.file, out)) == figures(made.bench)
    assert before.items() <= finished(out).items()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_benchmark_that_was_killed_ends_in_the_same_figures(
    short: Made, tmp_path: Path, moment: str
) -> None:
    go_on(short, tmp_path / "out", moment)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "moment"), enumerate(FIVE, start=1))
def test_it_does_at_five_moments(whole: Made, tmp_path: Path, count: int, moment: str) -> None:
    go_on(whole, tmp_path / "out", moment, min(count, 3))


def test_a_method_of_another_package_is_a_row_by_its_dotted_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of the documentation, as it stands there."""
    page = ROOT / "docs" / "guides" / "add-a-method.md"
    script = next(block for block in blocks_of(page) if "class CappedAscent" in block.text)
    assert script.text.count("\n") <= 60
    subprocess.run(["bash", "-euo", "pipefail", "-c", script.text], cwd=tmp_path, check=True)
    monkeypatch.syspath_prepend(tmp_path)
    file = written(
        tmp_path,
        """
        model = "zoo:digits-symbol"
        seeds = [10]
        set = ["train.steps=2", "train.batch_size=4", "train.stop_every=0", "images.samples=20",
               "images.likelihood_steps=5", "images.unseen=10", "images.controls=2",
               "images.draws=1"]
        [evaluate]
        baseline_steps = 2
        [[request]]
        kind = "images"
        images = "zoo:symbol"
        retain = "digits"
        unseen = "digits"
        [[method]]
        name = "mine.capped_ascent"
        """,
    )
    found = bench(file, tmp_path / "out")
    assert [row.name for row in found.rows] == ["untouched", "mine.capped_ascent"]
    assert found.rows[1].method == "capped ascent" and found.rows[1].runs == 1
    assert "mine.capped_ascent" in (tmp_path / "out" / "table.md").read_text()
    sys.modules.pop("mine.capped_ascent", None)


def test_the_json_is_read_again_as_it_was_written(short: Made) -> None:
    content = (short.out / "bench.json").read_bytes()
    assert parse_record(Bench, content, "bench.json", "run again") == short.bench
    assert HEAD in SHORT and HEAD in WHOLE
