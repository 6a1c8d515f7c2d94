"""A job leaves a run folder like any other, and is done once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from efface.benchmark.bench import bench
from efface.benchmark.file import read_file
from efface.benchmark.rows import plan_jobs
from efface.benchmark.work import DONE, is_done, read_done, work
from efface.evaluation.change import PROTOCOL
from efface.records import read_attacks, read_evaluation, read_record
from tests.benchmark.conftest import SHORT, Made

File = Callable[[str], Path]
ATTACKED = SHORT.replace(
    "[evaluate]", "attacks = true\n[relearning]\nimages = [2]\nsamples = 10\n[evaluate]"
)


def test_the_original_model_is_measured_like_all_others(short: Made) -> None:
    run = short.out / "runs" / short.bench.runs[0].folder
    record, evaluation = read_record(run), read_evaluation(run)
    assert (record.status, record.method, record.forwards) == ("finished", "none", None)
    assert list(record.output.values()) == list(record.model["weights"].values())
    assert evaluation.change_protocol == PROTOCOL and evaluation.change["weights"] == 0
    assert all(result.value == result.baseline.value for result in evaluation.results)
    assert (run / "report.html").exists() and not (run / "pipeline" / "judge").exists()


def test_what_training_took_is_noted(short: Made) -> None:
    untouched, forgotten = plan_jobs(read_file(short.file))
    runs = short.out / "runs"
    done = read_done(forgotten, runs)
    assert done is not None and done.memory is not None and done.memory > 2**26
    assert read_done(untouched, runs) == done.model_copy(update={"memory": None})


def test_a_job_that_is_done_is_not_done_again(short: Made) -> None:
    job = plan_jobs(read_file(short.file))[1]
    record = short.out / "runs" / job.folder / "record.json"
    before = record.stat().st_mtime_ns
    assert work(job, short.out / "runs") is None
    assert record.stat().st_mtime_ns == before


def test_a_job_that_fails_says_why(short: Made, tmp_path: Path) -> None:
    job = replace(plan_jobs(read_file(short.file))[1], model=str(tmp_path / "gone"))
    threads = torch.get_num_threads()
    assert "no model at" in str(work(job, tmp_path))
    assert not is_done(job, tmp_path) and torch.get_num_threads() == threads


def test_memory_that_ran_out_fails_one_job_alone(
    short: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*given: object, **named: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("efface.benchmark.work.forget", run_out)
    job = plan_jobs(read_file(short.file))[1]
    assert "memory ran out" in str(work(job, tmp_path))


def test_a_run_that_is_done_is_attacked_where_that_is_wanted_later(
    file: File, short: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, job = plan_jobs(read_file(file(ATTACKED)))
    shutil.copytree(short.out / "runs", tmp_path / "runs")
    runs = tmp_path / "runs"
    assert not is_done(job, runs) and is_done(replace(job, attack=None), runs)
    given: list[object] = []
    monkeypatch.setattr("efface.benchmark.work.attack", lambda *own, **named: given.append(named))
    trained = (runs / job.folder / "record.json").stat().st_mtime_ns
    assert work(job, runs) is None and is_done(job, runs)
    changes = ("relearning.images=[2]", "relearning.samples=10")
    assert given == [{"judge": None, "retrained": None, "changes": changes}]
    assert (runs / job.folder / "record.json").stat().st_mtime_ns == trained
    assert is_done(replace(job, attack=None), runs) and (runs / job.folder / DONE).exists()


@pytest.mark.slow
def test_what_relearning_took_stands_in_the_table(file: File, tmp_path: Path) -> None:
    quick = "steps = [1]\nsampling_steps = 1\nlearning_rates = [1e-3]\n[evaluate]"
    found = bench(file(ATTACKED.replace("[evaluate]", quick)), tmp_path / "out")
    run = found.runs[-1]
    attacks = read_attacks(tmp_path / "out" / "runs" / run.folder)
    assert attacks is not None and [a.attack for a in attacks.results] == ["relearning"]
    assert run.answers["resist"] != "not_measured"
