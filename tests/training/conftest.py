"""Tiny trainings on class-conditional models, shared by the tests of the loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from efface.data.source import ConditionSource
from efface.diffusion.denoiser import Denoiser
from efface.methods.base import Method
from efface.methods.sfd import SFD
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer, TrainResult
from tests.tiny import make_tiny_unet

SETTINGS: dict[str, Any] = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3, "log_every": 1}


@pytest.fixture(scope="session")
def make_trainer() -> Callable[..., Trainer]:
    def make(
        denoiser: Denoiser, folder: Path, method: Method | None = None, **more: Any
    ) -> Trainer:
        """The trainer of a run that forgets class 0; further settings of the loop by name."""
        checks = {name: more.pop(name) for name in ("guard", "stopper") if name in more}
        method = method or SFD(forget_share=0.5, student_forget_weight=1.0)
        settings = TrainSettings(**(SETTINGS | more))
        source = ConditionSource(
            table=denoiser.encode(range(10)),
            retain=list(range(1, 10)),
            forget=[0],
            replacements=[[1, 2]],
            retain_rows=settings.batch_size,
            forget_rows=round(method.forget_share * settings.batch_size),
            seed=settings.seed,
        )
        folder.mkdir(exist_ok=True)
        return Trainer(method, method.networks(denoiser), source, settings, folder, **checks)

    return make


@pytest.fixture(scope="session")
def plain_run(
    make_trainer: Callable[..., Trainer], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainResult, Path]:
    """The result and the folder of a run without further settings; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    return make_trainer(make_tiny_unet(), folder).run(), folder


@pytest.fixture(scope="session")
def log_of() -> Callable[[Path], list[dict[str, float]]]:
    def read(folder: Path) -> list[dict[str, float]]:
        return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]

    return read


@pytest.fixture(scope="session")
def weights() -> Callable[[Denoiser], Tensor]:
    """All parameters of a model as one vector."""
    return lambda denoiser: torch.cat([p.detach().flatten() for p in denoiser.network.parameters()])


@pytest.fixture(scope="session")
def stopping_at() -> Callable[[int], Callable[[int], None]]:
    """A callback that interrupts a run after some step, as Ctrl-C does."""

    def make(last: int) -> Callable[[int], None]:
        def stop(step: int) -> None:
            if step == last:
                raise KeyboardInterrupt

        return stop

    return make
