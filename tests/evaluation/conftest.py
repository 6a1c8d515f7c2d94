"""A tiny model as the original one and, in one step, as the result."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep, OneStep
from efface.evaluation.sample_sets import Subject
from efface.evaluation.subjects import Subjects
from tests.tiny import make_tiny_unet


@pytest.fixture(scope="module")
def subjects(tiny_model: Path) -> Subjects:
    denoiser = make_tiny_unet()
    return Subjects(
        info=inspect_model(tiny_model),
        device=denoiser.device,
        result=Subject(denoiser=denoiser, sampler=OneStep(600)),
        original=Subject(denoiser=denoiser, sampler=MultiStep(2)),
        retrained=Subject(denoiser=denoiser, sampler=MultiStep(2)),
    )
