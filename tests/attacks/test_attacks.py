"""Every attack: its invariants on real models with tiny budgets."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from efface.attacks import names, resolve
from efface.attacks.base import Attack, Case, Subject
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import OneStep
from efface.records import AttackResult

TINY: dict[str, dict[str, Any]] = {
    "relearn": {"steps": (1, 2), "images": (1, 3), "batch_size": 4, "samples": 6},
    "benign_finetune": {"steps": (2,), "images": 9, "batch_size": 4, "samples": 6},
    "condition_inversion": {"steps": (1, 2), "images": 3, "batch_size": 4, "samples": 6},
    "latent_search": {"tries": (1, 3), "samples": 6},
    "denoise_from_noisy": {"given": (0.2, 0.6), "images": 3, "samples": 6},
    "neighbour_leak": {"samples": 6},
    "membership": {"samples": 12, "draws": 1},
}


def tiny(name: str, **changes: Any) -> Attack:
    return resolve(name)(**({"sampling_steps": 2} | TINY[name] | changes))


@pytest.fixture
def cases(tiny_unet, text_model, case_of, zero, bag, caption, heart) -> dict[str, Case]:
    """A tiny model of each kind, attacked as its own erasure."""
    classes, pictures, words = tiny_unet(), tiny_unet(conditional=False), text_model("sd")
    return {
        "class": case_of(classes, classes, zero),
        "concept": case_of(words, words, bag),
        "images": case_of(pictures, pictures, heart),
        "memorised": case_of(words, words, caption),
    }


def attacks_by_kind() -> list[tuple[str, str]]:
    return [(name, kind) for name in names() for kind in sorted(resolve(name).kinds)]


def state(denoiser: Denoiser) -> dict[str, Any]:
    parameters = denoiser.network.named_parameters()
    return {n: (p.detach().clone(), p.requires_grad) for n, p in parameters}


def timeless(result: AttackResult) -> dict[str, Any]:
    return result.model_dump(exclude={"seconds"})


def test_every_attack_is_tested():
    assert set(TINY) == set(names())


@pytest.mark.parametrize(("name", "kind"), attacks_by_kind())
def test_the_untouched_model_is_its_own_equal_and_stays_as_it_was(name, kind, cases):
    case = cases[kind]
    before = state(case.untouched.denoiser)
    result = tiny(name).run(case)
    lines = result.curve.lines
    assert lines["result"] == lines["baseline"]
    assert result.costs["result"] == result.costs["baseline"]
    assert {"result", "baseline", "weak"} <= lines.keys()
    for points in lines.values():
        assert [p.x for p in points] == sorted(p.x for p in points)
        assert all(0 <= p.low <= p.value <= p.high <= 1 for p in points)
    assert len(result.self_tests) == 2 and all(test.text for test in result.self_tests)
    after = state(case.untouched.denoiser)
    for key, (tensor, needs_gradient) in before.items():
        assert torch.equal(tensor, after[key][0]) and needs_gradient == after[key][1], key


@pytest.mark.parametrize(
    ("name", "kind"),
    [("benign_finetune", "class"), ("latent_search", "images"), ("condition_inversion", "class")],
)
def test_the_same_seed_gives_the_same_record(name, kind, cases):
    torch.manual_seed(1)
    first = tiny(name).run(cases[kind])
    torch.manual_seed(2)
    assert timeless(tiny(name).run(cases[kind])) == timeless(first)


def test_another_seed_gives_other_samples(cases):
    first, second = (tiny("denoise_from_noisy", seed=s).first_seed for s in (0, 1))
    assert first != second


@pytest.mark.parametrize("name", ["neighbour_leak", "condition_inversion"])
def test_an_attack_on_a_model_that_knows_nothing_is_void(name, cases):
    result = tiny(name, samples=30).run(cases["class"])
    assert result.void
    assert [test.passed for test in result.self_tests if test.subject == "the untouched model"] == [
        False
    ]


def test_the_untouched_digits_recover_at_no_cost(digits, case_of, zero):
    result = tiny("relearn", steps=(1,), samples=30, sampling_steps=5).run(
        case_of(digits, digits, zero)
    )
    assert [cost.budget for cost in result.costs["result"]] == [0, 0]
    assert result.self_tests[0].passed, result.self_tests[0].text
    assert result.level > 0.8 and result.floor < 0.2


def test_inversion_finds_the_class_in_the_untouched_digits_and_under_a_wrong_name(
    digits, case_of, zero
):
    budget = {"steps": (12, 24), "images": 8, "batch_size": 16, "learning_rate": 0.2}
    result = tiny("condition_inversion", samples=20, sampling_steps=5, **budget).run(
        case_of(digits, digits, zero)
    )
    assert not result.void, [test.text for test in result.self_tests]
    half = result.costs["baseline"][0].budget
    assert half is not None and half > 0  # it begins from labels that stay
    assert result.curve.lines["baseline"][0].value < 0.5


def test_a_renamed_label_is_found_under_its_new_name(digits, case_of, zero):
    result = tiny("neighbour_leak", samples=20, sampling_steps=5).run(case_of(digits, digits, zero))
    assert not result.void, [test.text for test in result.self_tests]
    weak = {p.x: p.value for p in result.curve.lines["weak"]}
    assert max(weak, key=lambda label: weak[label]) == zero.others[0]
    assert "result: leaks nowhere" in result.notes


def test_a_search_that_goes_on_never_loses_what_it_found(digits, case_of, zero):
    result = tiny("latent_search", tries=(1, 2, 4), samples=6).run(case_of(digits, digits, zero))
    for points in result.curve.lines.values():
        values = [p.value for p in points]
        assert values == sorted(values)
    # What stays is searched in the same way, for want of a model that never knew.
    assert result.floor == result.curve.lines["other_labels"][-1].value


def test_a_model_of_one_picture_gives_it_away_however_little_is_given(point_mass, case_of, heart):
    case = case_of(point_mass, point_mass, heart)
    found = tiny("denoise_from_noisy").run(case)
    assert [p.value for p in found.curve.lines["result"]] == [1, 1]
    assert [p.value for p in found.curve.lines["unseen"]] == [0, 0]
    known = tiny("membership").run(case)
    assert known.level == 1
    assert all(p.value == 1 for p in known.curve.lines["result"])
    assert known.self_tests[0].passed


def test_a_one_step_generator_is_relearned_in_one_step_and_in_many(tiny_unet, case_of, zero):
    model = tiny_unet()
    case = case_of(model, model, zero)
    one_step = Subject(denoiser=model, sampler=OneStep(700))
    case = dataclasses.replace(case, result=one_step)
    lines = tiny("relearn", steps=(1,)).run(case).curve.lines
    assert {"result", "result_multi_step", "result_1_images"} <= lines.keys()
    assert "baseline_multi_step" not in lines
    assert tiny("neighbour_leak").run(case).curve.lines.keys() == {"result", "baseline", "weak"}


def test_without_a_retrained_model_and_unseen_pictures_the_floor_is_nothing(
    point_mass, case_of, heart
):
    alone = dataclasses.replace(heart, unseen=None)
    result = tiny("denoise_from_noisy").run(case_of(point_mass, point_mass, alone))
    assert (result.floor, result.level) == (0, 1)


def test_a_retrained_model_is_the_floor_where_there_is_one(point_mass, case_of, heart):
    case = case_of(point_mass, point_mass, heart)
    knows_too = Subject(denoiser=point_mass, sampler=case.untouched.sampler)
    result = tiny("latent_search").run(dataclasses.replace(case, retrained=knows_too))
    assert result.floor == result.level == 1
    assert result.void  # it finds no more than in a model that is said never to have known
