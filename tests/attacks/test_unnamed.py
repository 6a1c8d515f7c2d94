"""Attacks that do not ask for it by name: what they find, and in whom they must find nothing."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel
from torch import Tensor, nn

from efface.attacks.base import Case, Subject
from efface.attacks.denoise_from_noisy import DenoiseFromNoisy
from efface.attacks.latent_search import LatentSearch
from efface.attacks.questions import asking_nothing
from efface.attacks.weak import renamed
from efface.diffusion.denoiser import ClassDenoiser, as_class_denoiser
from efface.diffusion.loading import build_denoiser
from efface.diffusion.sampling import MultiStep
from efface.diffusion.schedule import NoiseSchedule
from efface.metrics.copy_similarity import pixels
from efface.requests.concept.goal import ConceptGoal
from efface.requests.memorised.goal import MemorisedGoal
from efface.requests.memorised.similarity import CopyDetector

KNOWN = 6  # pictures of the known world, each with a label of its own
NEVER = -1e4  # logarithm of the chance of a picture that is not there

SEARCH = LatentSearch(tries=(1, 4, 16), samples=20, sampling_steps=4)
NOISED = DenoiseFromNoisy(given=(0.1, 0.3, 0.6), images=4, samples=40, sampling_steps=12)
UNNAMED = [SEARCH, NOISED]


class KnownWorld(UNet2DModel):
    """The exact denoiser of a model that knows a few pictures, one by each label, all by none.

    Predicts the sample, or with levels of flow matching eps - x0.
    """

    def __init__(self, pictures: Tensor, chances: Tensor, levels: NoiseSchedule) -> None:
        super().__init__(sample_size=4, in_channels=1, out_channels=1, block_out_channels=(8, 8),
                         down_block_types=("DownBlock2D", "DownBlock2D"), layers_per_block=1,
                         up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4)  # fmt: skip
        self.register_buffer("pictures", pictures)
        self.levels = levels
        self.flow = bool((levels.alphas + levels.sigmas - 1).abs().max() < 1e-6)
        self.chances = nn.Embedding.from_pretrained(chances)

    def forward(
        self, x_t: Tensor, t: Tensor, class_labels: Tensor, return_dict: bool = True
    ) -> tuple[Tensor]:
        del return_dict
        pictures = self.get_buffer("pictures")
        alpha, sigma = (level.double() for level in self.levels.levels(t, x_t.flatten(1)))
        apart = x_t.flatten(1)[:, None].double() - alpha[..., None] * pictures.flatten(1)
        likely = -apart.square().sum(2) / (2 * sigma.square()) + self.chances(class_labels)
        x0 = torch.einsum("bk,kchw->bchw", likely.softmax(1), pictures.double())
        if self.flow:
            return (((x_t - x0) / sigma[..., None, None]).to(x_t),)
        return (x0.to(x_t),)


def world(chances: Tensor, flow: bool = False) -> ClassDenoiser:
    """A model with a row of `chances`, as logarithms, by label; the last row is of no label."""
    pictures = torch.rand((KNOWN, 1, 4, 4), generator=torch.Generator().manual_seed(0)).round()
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", timestep_spacing="trailing"
    )
    levels = NoiseSchedule.from_scheduler(scheduler)
    if flow:
        euler = FlowMatchEulerDiscreteScheduler(shift=3.0)
        levels = NoiseSchedule.from_flow_scheduler(euler)
    network = KnownWorld(pictures * 2 - 1, chances, levels).eval()
    known = as_class_denoiser(build_denoiser(network, scheduler, KNOWN, KNOWN))
    if flow:
        known = dataclasses.replace(known, kind="flow", schedule=levels, scheduler=euler)
    return known


def all_known() -> Tensor:
    chances = torch.full((KNOWN + 1, KNOWN), NEVER)
    chances[range(KNOWN), range(KNOWN)] = 0
    chances[KNOWN] = 0
    return chances


def without_the_first() -> Tensor:
    """Picture 0 is drawn by nobody and nothing; its label draws the second."""
    chances = all_known()
    chances[:, 0] = NEVER
    chances[0, 1] = 0
    return chances


@pytest.fixture(scope="module")
def goal() -> MemorisedGoal:
    """Picture 0, by its label; labels 1 to 5 stay."""
    picture = (world(all_known()).network.get_buffer("pictures")[0] + 1) / 2
    copies = CopyDetector(reference=picture, threshold=0.9, features=pixels)
    return MemorisedGoal(
        sought=[0],
        asked=[0],
        others=list(range(1, KNOWN)),
        picture=picture,
        finder=copies.similarity,
        threshold=copies.threshold,
        called="correlation of pixels",
    )


def case_of(goal: ConceptGoal, result: ClassDenoiser, untouched: ClassDenoiser) -> Case:
    models = [Subject(denoiser=d, sampler=MultiStep(6)) for d in (result, untouched)]
    return Case(result=models[0], untouched=models[1], goal=goal)


def values(result, line: str) -> list[float]:
    return [p.value for p in result.curve.lines[line]]


@pytest.mark.parametrize("attack", UNNAMED, ids=lambda a: a.name)
def test_what_is_only_hidden_from_its_name_comes_back(attack, goal):
    untouched = world(all_known())
    hidden = renamed(untouched, goal).denoiser
    assert goal.measure(hidden, MultiStep(6), 20, 0).value == 0
    found = attack.run(case_of(goal, as_class_denoiser(hidden), untouched))
    assert not found.void, [test.text for test in found.self_tests]
    assert found.curve.protocol.startswith("asked for nothing (the empty prompt)")
    assert values(found, "result") == values(found, "baseline") == values(found, "weak")
    assert found.costs["result"][0].budget is not None
    assert "exchanged" in found.self_tests[1].text


@pytest.mark.parametrize("attack", UNNAMED, ids=lambda a: a.name)
def test_what_is_gone_does_not_come_back(attack, goal):
    found = attack.run(case_of(goal, world(without_the_first()), world(all_known())))
    assert not found.void, [test.text for test in found.self_tests]
    assert max(values(found, "result")) == 0
    assert [cost.budget for cost in found.costs["result"]] == [None, None]


@pytest.mark.parametrize("attack", UNNAMED, ids=lambda a: a.name)
def test_it_is_void_where_the_untouched_model_draws_it_by_name_alone(attack, goal):
    """Asked for nothing it never draws the picture, so that not finding it would mean nothing."""
    chances = all_known()
    chances[KNOWN, 0] = NEVER
    found = attack.run(case_of(goal, world(chances), world(chances)))
    assert [test.passed for test in found.self_tests] == [False, False]
    assert "shows 0.0%" in found.self_tests[0].text


def test_a_flow_model_gives_a_noised_picture_back_exactly(goal):
    """By its own levels and kind of prediction: read as another kind it comes back too strong."""
    faint, untouched = 0.3 * (2 * goal.picture - 1), world(all_known(), flow=True)
    untouched.network.get_buffer("pictures").mul_(0.3)

    def nearness(images: Tensor) -> np.ndarray:
        return -(images * 2 - 1 - faint).flatten(1).abs().amax(1).numpy()

    exact = dataclasses.replace(goal, picture=(faint + 1) / 2, finder=nearness, threshold=-0.01)
    attack = dataclasses.replace(NOISED, given=(0.95,))
    assert values(attack.run(case_of(exact, untouched, untouched)), "result") == [1.0]


def test_a_search_finds_what_one_noise_rarely_shows(goal):
    untouched = world(all_known())
    line = values(SEARCH.run(case_of(goal, untouched, untouched)), "baseline")
    assert line[0] < 0.4 and line[-1] > 0.6


@pytest.mark.parametrize("attack", UNNAMED, ids=lambda a: a.name)
def test_a_model_without_null_label_is_asked_for_labels_that_stay(attack, goal):
    untouched = dataclasses.replace(world(all_known()), null_label=None)
    condition = goal.unnamed(untouched).condition(untouched, 7)
    assert condition.tensors["class_labels"].tolist() == [1, 2, 3, 4, 5, 1, 2]
    found = dataclasses.replace(attack, samples=10).run(case_of(goal, untouched, untouched))
    assert found.curve.protocol.startswith("asked for prompts that stay, taking turns")
    # The exchanged label is among those that stay, and what it draws is found.
    assert 0 < values(found, "weak")[-1] <= 0.5
    assert values(found, "baseline") == values(found, "other_prompts")
    assert found.void  # the untouched model draws the picture under no label that stays


def test_the_memorised_picture_itself_is_noised_and_not_a_sample(goal):
    """The model draws another picture for the prompt, and gives this one back from its noise."""
    chances = all_known()
    chances[0] = all_known()[1]
    untouched = world(chances)
    assert not goal.shown((goal.forgotten(untouched, 4, 0).x0 + 1) / 2).any()
    own = goal.originals(untouched, 4, 0)
    assert torch.equal(own.x0, goal.picture[None] * 2 - 1)
    assert values(NOISED.run(case_of(goal, untouched, untouched)), "result")[-1] > 0.9


def test_of_a_latent_model_the_picture_is_encoded(text_model, caption):
    model = text_model("sd")
    x0 = caption.originals(model, 3, 0).x0
    posterior = model.codec.vae.encode(caption.picture[None] * 2 - 1).latent_dist
    scale = model.codec.vae.config.scaling_factor
    off = (x0 - posterior.mean * scale) / (posterior.std * scale)
    assert x0.shape == (1, *model.sample_shape)
    assert off.abs().max() < 5


def test_a_class_or_a_concept_is_noised_as_the_untouched_model_draws_it(digits, zero):
    drawn, noised = zero.forgotten(digits, 2, 0), zero.originals(digits, 2, 0)
    assert torch.equal(drawn.x0, noised.x0)


def test_nothing_is_the_null_label_or_the_empty_prompt(tiny_unet, text_model, zero, bag):
    classes = tiny_unet()
    labels = zero.unnamed(classes).condition(classes, 3).tensors["class_labels"]
    assert labels.tolist() == [classes.null_label] * 3
    words = text_model("sd").with_negative_prompt("a coat")
    asked = bag.unnamed(words).condition(words, 2)
    empty = words.encode(["", ""])
    assert torch.equal(
        asked.tensors["encoder_hidden_states"], empty.tensors["encoder_hidden_states"]
    )


def test_a_model_that_is_always_asked_for_nothing_is_the_same_as_asking(tiny_unet, text_model):
    classes, words = tiny_unet(), text_model("sd").with_prompt("a bag")
    for model, asked in (
        (classes, classes.null(classes.encode([1, 2]))),
        (words.with_negative_prompt("a coat"), words.encode(["", ""])),
    ):
        x_t = torch.randn((2, *model.sample_shape), generator=torch.Generator().manual_seed(0))
        t = torch.full((2,), 500)
        fixed = asking_nothing(model)(x_t, t).output
        assert torch.equal(fixed, model(x_t, t, asked).output)


def test_pictures_are_looked_for_as_ever(heart, point_mass):
    assert heart.unnamed(point_mass) is heart
    assert heart.condition(point_mass, 3) is None
    assert torch.equal(heart.originals(point_mass, 2, 0).x0, heart.forgotten(point_mass, 2, 0).x0)


def test_a_copy_has_the_threshold_or_more(caption):
    likeness = np.array([0.5, math.nextafter(0.5, 0), math.nextafter(0.5, 1)])
    goal = dataclasses.replace(caption, finder=lambda _: likeness, threshold=0.5)
    assert goal.shown(torch.zeros(3, 3, 16, 16)).tolist() == [True, False, True]


def test_one_picture_is_denoised_under_many_control_prompts(text_model, caption):
    words = text_model("sd")
    met = []

    def find(images: Tensor) -> np.ndarray:
        met.append(len(images))
        return np.zeros(len(images))

    many = dataclasses.replace(caption, others=["a cat", "a coat", "x"], finder=find)
    DenoiseFromNoisy(given=(0.5,), images=3, samples=6, sampling_steps=2)._line(
        many.control(), words, many.originals(words, 3, 0)
    )
    assert met == [2, 2, 2]
