"""A run that forgot two labels of a tiny model, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import efface

SMALL = (
    "train.steps=4",
    "train.batch_size=8",
    "train.learning_rate=1e-4",
    "train.guard_every=2",
    "method.forget_share=0.5",
    "evaluate.forget_samples=12",
    "evaluate.retain_samples=36",
    "evaluate.baseline_steps=2",
)


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Settings of a tiny run on labels."""
    return list(SMALL)


@pytest.fixture(scope="session")
def first_run(tiny_model: Path, small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    request = efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    out = tmp_path_factory.mktemp("runs") / "run"
    return efface.forget(tiny_model, request, out, changes=small)


@pytest.fixture(scope="module")
def run(first_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for the tests of a module."""
    return shutil.copytree(first_run, tmp_path_factory.mktemp("copies") / "run")
