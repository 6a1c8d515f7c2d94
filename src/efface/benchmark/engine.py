"""Jobs on processes of this machine or on a Dask cluster: joblib hands them out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config

from efface.benchmark.rows import Job
from efface.benchmark.work import work
from efface.errors import ConfigError, RunError
from efface.progress import Bar

WAIT = 60  # seconds for a cluster to answer
GO_ON = "perhaps for want of memory: start again, with fewer at once, to go on."


def run_all(
    jobs: Sequence[Job], runs: Path, *, processes: int = 1, cluster: str | None = None
) -> dict[str, str]:
    """Carry out jobs, each content once; returns why those failed that did, by digest.

    `cluster` is the address of a Dask scheduler, whose workers see the folder `runs` under the same
    path. What a lost worker had begun another goes on with. ConfigError where there is no cluster.
    """
    distinct = list({job.digest: job for job in jobs}.values())
    failed: dict[str, str] = {}
    with _engine(cluster), Bar("runs", len(distinct), unit="runs") as bar:
        pool = Parallel(n_jobs=-1 if cluster else processes, return_as="generator_unordered")
        results: Any = pool(delayed(_work)(job, runs) for job in distinct)
        for digest, reason in results:
            if reason is not None:
                failed[digest] = reason
            bar.advance()
    return failed


def _work(job: Job, runs: Path) -> tuple[str, str | None]:
    with parallel_config("sequential"):  # scikit-learn would hand its own work to the cluster
        return job.digest, work(job, runs)


@contextlib.contextmanager
def _engine(cluster: str | None) -> Iterator[None]:
    """Where joblib's jobs go."""
    if cluster is None:
        try:
            yield
        except BrokenProcessPool as error:
            raise RunError(f"a process was lost, {GO_ON}") from error
        return
    try:
        from distributed import Client, KilledWorker  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError(
            "a cluster needs Dask: pip install 'efface[cluster]', or leave --cluster out."
        ) from None
    try:
        client = Client(cluster, timeout=WAIT)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"there is no Dask scheduler at {cluster} ({error}): start one with `dask scheduler` "
            "and workers with `dask worker`, or leave --cluster out."
        ) from None
    with client, parallel_config(backend="dask", wait_for_workers_timeout=WAIT):
        try:
            yield
        except KilledWorker as error:
            raise RunError(f"one run ended several workers, {GO_ON}") from error
