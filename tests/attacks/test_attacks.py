"""Every attack: found by itself, and its invariants on real models with tiny budgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from efface.attacks import names, resolve
from efface.attacks.base import Case
from efface.attacks.goals import ImageGoal
from efface.attacks.weak import exchanged
from efface.diffusion.denoiser import Denoiser, as_class_denoiser
from efface.diffusion.sampling import MultiStep
from efface.errors import ConfigError
from efface.records import AttackResult
from efface.requests.classes.material import ClassGoal
from efface.requests.concept.finding import ConceptGoal
from efface.requests.memorised.material import MemorisedGoal

GOALS = {
    "class": ClassGoal,
    "concept": ConceptGoal,
    "images": ImageGoal,
    "memorised": MemorisedGoal,
}
PAIRS = [
    (name, about)
    for name in names()
    for about, goal in GOALS.items()
    if resolve(name).model_construct().misfit(goal) is None
]
UNCONDITIONED = [
    ("noise_search", {"tries": (1, 4, 16), "samples": 20, "sampling_steps": 4}),
    ("partial_denoising",
     {"given": (0.1, 0.3, 0.6), "images": 4, "samples": 40, "sampling_steps": 12}),
]  # fmt: skip


@pytest.fixture
def case_about(tiny_unet, text_model, case_of, zero, bag, caption, heart) -> Callable[[str], Case]:
    """A tiny model, attacked as its own erasure of something of a kind."""
    make = {"class": tiny_unet, "images": lambda: tiny_unet(conditional=False)}
    goals = {"class": zero, "concept": bag, "images": heart, "memorised": caption}

    def case(about: str) -> Case:
        model = make[about]() if about in make else text_model("sd")
        return case_of(model, model, goals[about], 2)

    return case


def state(denoiser: Denoiser) -> dict[str, Any]:
    parameters = denoiser.network.named_parameters()
    return {n: (p.detach().clone(), p.requires_grad) for n, p in parameters}


def timeless(result: AttackResult) -> dict[str, Any]:
    return result.model_dump(exclude={"seconds"})


def passed(result: AttackResult) -> list[bool]:
    return [test.passed for test in result.self_tests]


def test_modules_without_an_attack_of_their_own_are_none() -> None:
    assert names() == [
        "benign_fine_tuning",
        "concept_inversion",
        "noise_search",
        "partial_denoising",
        "relearning",
    ]
    for name in names():
        assert resolve(name).model_construct().name == name and resolve(name).summary
    for other in ("base", "fine_tuning", "image_goal", "sdedit"):
        with pytest.raises(ConfigError) as error:
            resolve(other)
        assert repr(other) in str(error.value) and "relearning" in str(error.value)


def test_every_goal_has_the_attacks_that_fit() -> None:
    attacks = {about: {name for name, own in PAIRS if own == about} for about in GOALS}
    assert attacks["class"] == attacks["concept"] == attacks["memorised"]
    assert attacks["class"] - attacks["images"] == {"concept_inversion"}
    assert attacks["images"] < attacks["class"]


@pytest.mark.parametrize(("name", "about"), PAIRS)
def test_the_original_model_is_its_own_equal_and_is_left_as_it_was(name, about, case_about, tiny):
    case = case_about(about)
    before = state(case.original.denoiser)
    result = tiny(name).run(case)
    lines = result.curve.lines
    assert lines["result"] == lines["baseline"]
    assert result.costs["result"] == result.costs["baseline"] and "weak" in lines
    assert len(result.self_tests) == 2 and all(test.text for test in result.self_tests)
    for points in lines.values():
        assert [p.x for p in points] == sorted(p.x for p in points)
        assert all(0 <= p.low <= p.value <= p.high <= 1 for p in points)
    after = state(case.original.denoiser)
    for key, (tensor, needs_gradient) in before.items():
        assert torch.equal(tensor, after[key][0]) and needs_gradient == after[key][1], key


@pytest.mark.parametrize(
    ("name", "about"),
    [("benign_fine_tuning", "class"), ("noise_search", "images"), ("concept_inversion", "class")],
)
def test_the_same_seed_gives_the_same_record(name, about, case_about, tiny):
    torch.manual_seed(1)
    case = case_about(about)
    first = tiny(name).run(case)
    torch.manual_seed(2)
    assert timeless(tiny(name).run(case)) == timeless(first)


def test_an_attack_on_a_model_that_knows_nothing_is_inconclusive(case_about, tiny):
    result = tiny("concept_inversion", samples=30).run(case_about("class"))
    assert [t.passed for t in result.self_tests if t.subject == "the original model"] == [False]


@pytest.mark.parametrize(("name", "budget"), UNCONDITIONED)
def test_what_is_only_hidden_under_its_condition_is_recovered(
    name, budget, first_image, world, all_known, case_of, tiny, values
):
    original = world(all_known)
    hidden = as_class_denoiser(exchanged(original, first_image).denoiser)
    assert first_image.measure(hidden, MultiStep(6), 20, 0).value == 0
    result = tiny(name, **budget).run(case_of(hidden, original, first_image, 6))
    assert passed(result) == [True, True], [test.text for test in result.self_tests]
    assert "the empty prompt" in result.curve.protocol
    assert values(result, "result") == values(result, "baseline") == values(result, "weak")
    assert result.costs["result"][0].budget is not None
    assert "exchanged" in result.self_tests[1].text


@pytest.mark.parametrize(("name", "budget"), UNCONDITIONED)
def test_what_is_gone_is_not_recovered(
    name, budget, first_image, world, all_known, without_the_first, case_of, tiny
):
    case = case_of(world(without_the_first), world(all_known), first_image, 6)
    result = tiny(name, **budget).run(case)
    assert passed(result) == [True, True], [test.text for test in result.self_tests]
    assert all(point.value == 0 for point in result.curve.lines["result"])
    assert [cost.budget for cost in result.costs["result"]] == [None, None]


@pytest.mark.parametrize(("name", "budget"), UNCONDITIONED)
def test_it_is_inconclusive_where_the_original_model_needs_the_condition(
    name, budget, first_image, world, all_known, case_of, tiny
):
    """Unconditioned it never generates the image, so that not finding it would mean nothing."""
    all_known[-1, 0] = -1e4
    model = world(all_known)
    result = tiny(name, **budget).run(case_of(model, model, first_image, 6))
    assert passed(result) == [False, False]
    assert "shows 0.0%" in result.self_tests[0].text


@pytest.mark.parametrize(("name", "budget"), UNCONDITIONED)
def test_a_model_without_null_label_is_conditioned_on_retained_labels(
    name, budget, first_image, world, all_known, case_of, tiny, values
):
    original = dataclasses.replace(world(all_known), null_label=None)
    result = tiny(name, **(budget | {"samples": 10})).run(
        case_of(original, original, first_image, 6)
    )
    assert "retained" in result.curve.protocol
    # The exchanged label is among the retained ones, and what it generates is found.
    assert 0 < values(result, "weak")[-1] <= 0.5
    assert values(result, "baseline") == values(result, "other_prompts")
    assert False in passed(result)  # the original model has the image under no retained label
