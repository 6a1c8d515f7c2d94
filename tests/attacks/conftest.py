"""Cases for attacks: tiny models, models whose answer is known, and the digits that ship."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel
from torch import Tensor, nn

from efface.attacks import goals, resolve, weak
from efface.attacks.base import Attack, Case, Subject
from efface.attacks.goals import Goal, ImageGoal
from efface.data.images import load_images
from efface.diffusion.denoiser import ClassDenoiser, Denoiser, as_class_denoiser
from efface.diffusion.loading import build_denoiser, load
from efface.diffusion.sampling import MultiStep
from efface.diffusion.schedule import NoiseSchedule
from efface.evaluation.views import DetectorView
from efface.metrics.detector import load_classifier
from efface.metrics.judge import Judge, load_judge
from efface.records import AttackResult
from efface.requests.classes.material import ClassGoal
from efface.requests.concept.finding import ConceptGoal
from efface.requests.memorised.material import MemorisedGoal
from efface.requests.memorised.similarity import PIXELS, CopyDetector
from efface.settings.reading import build
from tests.metrics.detectors import MULTI, make_random

ZOO = Path(weak.__file__).parents[1] / "zoo"
TINY: dict[str, dict[str, Any]] = {
    "relearning": {
        "steps": (1, 2), "images": (1, 3), "batch_size": 4, "samples": 6, "learning_rates": (5e-4,),
    },
    "benign_fine_tuning": {
        "steps": (2,), "images": 9, "batch_size": 4, "samples": 6, "learning_rates": (5e-4,),
    },
    "concept_inversion": {
        "steps": (1, 2), "images": 3, "batch_size": 4, "samples": 6, "learning_rates": (0.1,),
    },
    "noise_search": {"tries": (1, 3), "samples": 6},
    "partial_denoising": {"given": (0.2, 0.6), "images": 3, "samples": 6},
}  # fmt: skip
KNOWN = 6  # images of the known world, each with a label of its own
NEVER = -1e4  # logarithm of the probability of an image that is not there


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Attack]:
    """An attack by name with a tiny budget, as the command builds it."""

    def make(name: str, **changes: Any) -> Attack:
        usual = {"sampling_steps": 2, "repeats": 0}
        own = {key: v for key, v in usual.items() if key in resolve(name).model_fields}
        return build(resolve(name), own | TINY[name] | changes, name)

    return make


@pytest.fixture(scope="session")
def case_of() -> Callable[..., Case]:
    def make(result: Denoiser, original: Denoiser, goal: Goal, steps: int = 4) -> Case:
        models = [Subject(denoiser=d, sampler=MultiStep(steps)) for d in (result, original)]
        return Case(result=models[0], original=models[1], goal=goal)

    return make


@pytest.fixture(scope="session")
def values() -> Callable[[AttackResult, str], list[float]]:
    """The heights of one line of a result's curve."""
    return lambda result, line: [point.value for point in result.curve.lines[line]]


@pytest.fixture(autouse=True)
def _short_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weak, "SAMPLES", 12)
    monkeypatch.setattr(weak, "STEPS", 3)
    monkeypatch.setattr(weak, "ROWS", 8)
    monkeypatch.setattr(weak, "RATES", (2e-3, 8e-3))
    monkeypatch.setattr(goals, "EXAMPLE_STEPS", 8)
    monkeypatch.setattr(goals, "CALIBRATION_STEPS", 4)


@pytest.fixture(scope="session")
def judge() -> Judge:
    return load_judge(ZOO / "digits" / "judge")


@pytest.fixture(scope="session")
def zero(judge: Judge) -> ClassGoal:
    """The digit 0, forgotten; three others are retained."""
    return ClassGoal(judge=judge, sought=[0], conditions=[0], others=[1, 2, 3])


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory) -> ConceptGoal:
    """The word bag, forgotten; a detector with random weights finds it."""
    folder = make_random(tmp_path_factory.mktemp("detector"), MULTI, seed=4)
    view = DetectorView(detector=load_classifier(folder), labels=("bag",), threshold=0.4)
    forget, retain = ["a bag", "one bag"], ["a cat", "a coat", "Red coat."]
    return ConceptGoal(
        sought=forget,
        conditions=forget,
        others=retain,
        guidance=1.0,
        finder=lambda images: view.scores(view(images)),
        threshold=view.threshold,
        called=view.measured_with,
    )


def memorised(image: Tensor, threshold: float, sought: Any, others: list[Any]) -> MemorisedGoal:
    copies = CopyDetector(reference=image, threshold=threshold, comparison=PIXELS)
    return MemorisedGoal(
        sought=[sought],
        conditions=[sought],
        others=others,
        image=image,
        finder=copies.similarity,
        threshold=threshold,
        called=PIXELS.name,
    )


@pytest.fixture(scope="session")
def caption() -> MemorisedGoal:
    """A prompt's image, of noise; on random weights some similarity has to count as a copy."""
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    return memorised(image, 0.02, "a red bag", ["a cat", "a coat"])


@pytest.fixture(scope="session")
def digits() -> Denoiser:
    return load("zoo:digits")


@pytest.fixture(scope="session")
def heart() -> ImageGoal:
    """The symbol that zoo:digits-symbol was trained on, beside digits that it was not."""
    symbol = load_images("zoo:symbol").images.float() / 127.5 - 1
    others = load_images("digits", "test").images[:24].float() / 127.5 - 1
    return ImageGoal(
        images=symbol,
        unseen=others[:12],
        retained_images=others[12:],
        distance=1.5,
        timestep=600,
    )


class SmallUNet(UNet2DModel):
    """Only the configuration matters: subclasses compute their output exactly."""

    def __init__(self, size: int) -> None:
        super().__init__(sample_size=size, in_channels=1, out_channels=1, norm_num_groups=4,
                         down_block_types=("DownBlock2D", "DownBlock2D"), layers_per_block=1,
                         up_block_types=("UpBlock2D", "UpBlock2D"),
                         block_out_channels=(8, 8))  # fmt: skip


class PointMass(SmallUNet):
    """The exact denoiser of a model that knows one image and nothing else."""

    def __init__(self, image: Tensor) -> None:
        super().__init__(8)
        self.known = nn.Parameter(image)

    def forward(self, x_t: Tensor, t: Tensor, return_dict: bool = True) -> tuple[Tensor]:
        del t, return_dict
        return (self.known.expand_as(x_t),)


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", timestep_spacing="trailing"
    )


@pytest.fixture(scope="session")
def point_mass(heart: ImageGoal) -> Denoiser:
    return build_denoiser(PointMass(heart.images).eval(), scheduler(), None)


class KnownWorld(SmallUNet):
    """The exact denoiser of a model that knows a few images, one by each label, all by none.

    Predicts the sample, or with levels of flow matching eps - x0.
    """

    def __init__(self, images: Tensor, chances: Tensor, levels: NoiseSchedule) -> None:
        super().__init__(4)
        self.register_buffer("images", images)
        self.levels = levels
        self.flow = bool((levels.alphas + levels.sigmas - 1).abs().max() < 1e-6)
        self.chances = nn.Embedding.from_pretrained(chances)

    def forward(
        self, x_t: Tensor, t: Tensor, class_labels: Tensor, return_dict: bool = True
    ) -> tuple[Tensor]:
        del return_dict
        images = self.get_buffer("images")
        alpha, sigma = (level.double() for level in self.levels.levels(t, x_t.flatten(1)))
        apart = x_t.flatten(1)[:, None].double() - alpha[..., None] * images.flatten(1)
        likely = -apart.square().sum(2) / (2 * sigma.square()) + self.chances(class_labels)
        x0 = torch.einsum("bk,kchw->bchw", likely.softmax(1), images.double())
        if self.flow:
            return (((x_t - x0) / sigma[..., None, None]).to(x_t),)
        return (x0.to(x_t),)


@pytest.fixture
def all_known() -> Tensor:
    """Logarithms of probabilities, a row per label: label k has image k, no label has them all."""
    chances = torch.full((KNOWN + 1, KNOWN), NEVER)
    chances[range(KNOWN), range(KNOWN)] = 0
    chances[KNOWN] = 0
    return chances


@pytest.fixture
def without_the_first(all_known: Tensor) -> Tensor:
    """Image 0 is never generated; its label has the second one."""
    chances = all_known.clone()
    chances[:, 0] = NEVER
    chances[0, 1] = 0
    return chances


@pytest.fixture(scope="session")
def world() -> Callable[..., ClassDenoiser]:
    """A model with a row of probabilities for each label; the last row is of the null label."""

    def make(chances: Tensor, flow: bool = False) -> ClassDenoiser:
        images = torch.rand((KNOWN, 1, 4, 4), generator=torch.Generator().manual_seed(0)).round()
        levels = NoiseSchedule.from_scheduler(scheduler())
        if flow:
            euler = FlowMatchEulerDiscreteScheduler(shift=3.0)
            levels = NoiseSchedule.from_flow_scheduler(euler)
        network = KnownWorld(images * 2 - 1, chances, levels).eval()
        known = as_class_denoiser(build_denoiser(network, scheduler(), KNOWN, KNOWN))
        if flow:
            known = dataclasses.replace(known, kind="flow", schedule=levels, scheduler=euler)
        return known

    return make


@pytest.fixture
def first_image(world: Callable[..., ClassDenoiser], all_known: Tensor) -> MemorisedGoal:
    """Image 0 of the known world, by its label; labels 1 to 5 are retained."""
    image = (world(all_known).network.get_buffer("images")[0] + 1) / 2
    return memorised(image, 0.9, 0, list(range(1, KNOWN)))
