"""Tiny benchmarks on the digits that ship: two steps, few samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from efface.benchmark.bench import bench
from efface.benchmark.results import Bench

HEAD = """
model = "zoo:digits"
seeds = [10]
set = ["train.steps=2", "train.batch_size=4", "train.checkpoint_every=1"]
[evaluate]
forget_samples = 10
retain_samples = 18
baseline_steps = 2
guidance = 1.0
[[request]]
kind = "class"
labels = [2]
replacement = [7]
"""
SHORT = f"{HEAD}[[method]]\nname = 'redirection'\n"
WHOLE = f"""{HEAD}retrained = "zoo:digits"
[[method]]
name = "one step"
method = "sfd"
[[method]]
name = "redirection"
[method.strength]
setting = "method.forget_weight"
values = [0.5, 0.25]
[selection]
seeds = [100]
[[selection.request]]
kind = "class"
labels = [5]
replacement = [8]
"""
TAKEN = {"seconds", "memory", "date", "command", "commit", "machine"}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A benchmark that was carried out once."""

    file: Path
    out: Path
    bench: Bench


def figures(content: Any) -> Any:
    """All of a benchmark that is the same wherever and whenever it is carried out."""
    if isinstance(content, Bench):
        return figures(content.model_dump(mode="json"))
    if isinstance(content, dict):
        return {name: figures(value) for name, value in content.items() if name not in TAKEN}
    return [figures(value) for value in content] if isinstance(content, list) else content


def written(folder: Path, text: str) -> Path:
    path = folder / "bench.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the file of a benchmark."""
    return lambda text: written(tmp_path, text)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two methods, one of them at a strength that was chosen."""
    folder = tmp_path_factory.mktemp("bench")
    path = written(folder, WHOLE)
    return Made(file=path, out=folder / "out", bench=bench(path, folder / "out"))


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One method."""
    folder = tmp_path_factory.mktemp("short")
    path = written(folder, SHORT)
    return Made(file=path, out=folder / "out", bench=bench(path, folder / "out"))
