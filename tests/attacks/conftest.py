"""Cases for attacks: tiny models, and the digits model that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DModel
from torch import Tensor, nn

from efface.attacks import goals, picture_goal, weak
from efface.attacks.base import Case, Subject
from efface.attacks.goals import Goal
from efface.attacks.picture_goal import PictureGoal
from efface.data.images import load_images
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import build_denoiser, load
from efface.diffusion.sampling import MultiStep
from efface.evaluation.views import DetectorView
from efface.metrics.copy_similarity import pixels
from efface.metrics.detector import load_classifier
from efface.metrics.judge import Judge, load_judge
from efface.requests.classes.goal import ClassGoal
from efface.requests.concept.goal import ConceptGoal
from efface.requests.goals import concept_goal
from efface.requests.memorised.goal import MemorisedGoal
from efface.requests.memorised.similarity import CopyDetector
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.diffusion.text.conftest import text_model as text_model
from tests.metrics.detectors import MULTI, make_random

ZOO = Path(weak.__file__).parents[1] / "zoo"


@pytest.fixture(scope="session")
def case_of() -> Callable[..., Case]:
    def make(result: Denoiser, untouched: Denoiser, goal: Goal) -> Case:
        models = [Subject(denoiser=d, sampler=MultiStep(4)) for d in (result, untouched)]
        return Case(result=models[0], untouched=models[1], goal=goal)

    return make


@pytest.fixture(autouse=True)
def _short_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weak, "SAMPLES", 12)
    monkeypatch.setattr(weak, "STEPS", 3)
    monkeypatch.setattr(weak, "ROWS", 8)
    monkeypatch.setattr(weak, "RATES", (2e-3, 8e-3))
    monkeypatch.setattr(goals, "EXAMPLE_STEPS", 8)
    monkeypatch.setattr(picture_goal, "CALIBRATION_STEPS", 4)


@pytest.fixture(scope="session")
def judge() -> Judge:
    return load_judge(ZOO / "digits" / "judge")


@pytest.fixture(scope="session")
def zero(judge: Judge) -> ClassGoal:
    """The digit 0, forgotten; three others stay."""
    return ClassGoal(judge=judge, sought=[0], asked=[0], others=[1, 2, 3])


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory) -> ConceptGoal:
    """The word bag, forgotten; a classifier with random weights says where it is."""
    folder = make_random(tmp_path_factory.mktemp("detector"), MULTI, seed=4)
    view = DetectorView(detector=load_classifier(folder), labels=("bag",), threshold=0.4)
    return concept_goal(view, (["a bag", "one bag"], ["a cat", "a coat", "Red coat."]), None, 1.0)


@pytest.fixture(scope="session")
def caption() -> MemorisedGoal:
    """A prompt's picture, of noise; on random weights some likeness has to count as a copy."""
    picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    copies = CopyDetector(reference=picture, threshold=0.02, features=pixels)
    return MemorisedGoal(
        sought=["a red bag"],
        asked=["a red bag"],
        others=["a cat", "a coat"],
        picture=picture,
        finder=copies.similarity,
        threshold=copies.threshold,
        called="correlation of pixels",
    )


@pytest.fixture(scope="session")
def digits() -> Denoiser:
    return load("zoo:digits")


@pytest.fixture(scope="session")
def heart() -> PictureGoal:
    """The drawn picture that zoo:digits-symbol knows, beside digits that it does not."""
    pictures = load_images("zoo:symbol").images.float() / 127.5 - 1
    others = load_images("digits", "test").images[:24].float() / 127.5 - 1
    return PictureGoal(
        pictures=pictures, unseen=others[:12], stays=others[12:], distance=1.5, timestep=600
    )


class PointMass(UNet2DModel):
    """The exact denoiser of a model that knows one picture and nothing else."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8),
                         down_block_types=("DownBlock2D", "DownBlock2D"), layers_per_block=1,
                         up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4)  # fmt: skip
        self.known = nn.Parameter(picture)

    def forward(self, x_t: Tensor, t: Tensor, return_dict: bool = True) -> tuple[Tensor]:
        del t, return_dict
        return (self.known.expand_as(x_t),)


@pytest.fixture(scope="session")
def point_mass(heart: PictureGoal) -> Denoiser:
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", timestep_spacing="trailing"
    )
    return build_denoiser(PointMass(heart.pictures).eval(), scheduler, None)
