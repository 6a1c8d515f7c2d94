"""Jobs give the same figures on whatever processes they are carried out."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from efface.benchmark.bench import bench
from efface.benchmark.engine import run_all
from efface.benchmark.file import read_file
from efface.benchmark.rows import plan_jobs
from efface.errors import ConfigError, RunError
from tests.benchmark.conftest import Made, figures


def test_jobs_of_one_content_are_carried_out_once(
    short: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = plan_jobs(read_file(short.file))
    begun = []
    monkeypatch.setattr(
        "efface.benchmark.engine.work", lambda job, runs: begun.append(job.digest) or "lost"
    )
    failed = run_all([*jobs, *jobs], tmp_path)
    assert sorted(begun) == sorted({job.digest for job in jobs})
    assert failed == dict.fromkeys(begun, "lost")


def test_a_cluster_without_dask_or_scheduler_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ConfigError, match="efface\\[cluster\\]"):
        run_all([], tmp_path, cluster="tcp://127.0.0.1:1")


def test_a_scheduler_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("efface.benchmark.engine.WAIT", 1)
    with pytest.raises(ConfigError, match="no Dask scheduler at tcp://127.0.0.1:1"):
        run_all([], tmp_path, cluster="tcp://127.0.0.1:1")


def test_a_process_that_was_lost_is_one_sentence(
    short: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(job: object, runs: Path) -> None:
        raise TerminatedWorkerError("killed")

    monkeypatch.setattr("efface.benchmark.engine.work", die)
    with pytest.raises(RunError, match="a process was lost"):
        run_all(plan_jobs(read_file(short.file)), tmp_path)


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(whole: Made, tmp_path: Path) -> None:
    assert figures(bench(whole.file, tmp_path / "out", jobs=2)) == figures(whole.bench)


def kill_once(processes: list[int], runs: Path) -> Iterator[int]:
    """Kill the first process as soon as a run has begun there; yields its id."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(runs.glob("*/checkpoints")):
            os.kill(processes[0], signal.SIGKILL)
            yield processes[0]
            return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_ends_with_the_figures_of_one_process(
    whole: Made, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    killed: list[int] = []
    out = tmp_path / "out"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        with distributed.Client(cluster) as client:
            workers = list(client.run(os.getpid).values())
        thread = threading.Thread(
            target=lambda: killed.extend(kill_once(workers, out / "runs")), daemon=True
        )
        thread.start()
        found = bench(whole.file, out, cluster=cluster.scheduler_address)
        thread.join()
    assert killed == workers[:1] and not any(row.failed for row in found.rows)
    assert figures(found) == figures(whole.bench)
