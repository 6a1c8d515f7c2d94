"""Prompts as an attack changes them: exchanged, learned, fixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from efface.attacks.prompts import with_exchanged_prompts, with_learned_prompt
from efface.attacks.questions import asking, with_learned_question
from efface.attacks.weak import renamed
from efface.diffusion.text.denoiser import TextDenoiser

Make = Callable[..., TextDenoiser]
KINDS = ["sd", *(pytest.param(k, marks=pytest.mark.slow) for k in ("sdxl", "flux", "pixart_sigma"))]


def noisy(denoiser: TextDenoiser, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn((count, *denoiser.sample_shape), generator=generator)
    return x_t, torch.full((count,), 500)


def output(denoiser: TextDenoiser, prompts: list[str]) -> torch.Tensor:
    x_t, t = noisy(denoiser, len(prompts))
    return denoiser(x_t, t, denoiser.encode(prompts)).output


@pytest.mark.parametrize("kind", KINDS)
def test_a_learned_prompt_starts_as_another_and_is_all_that_moves(
    text_model: Make, kind: str
) -> None:
    model = text_model(kind)
    learned, parameters = with_learned_prompt(model, "a cat")
    with torch.no_grad():
        assert torch.equal(output(learned, ["a bag", "x"]), output(model, ["a cat", "a cat"]))
    output(learned, ["a bag", "a bag"]).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in parameters)
    assert all(p.grad is None for p in learned.network.parameters())
    with torch.no_grad():
        parameters[0].add_(1)
        assert not torch.equal(output(learned, ["a bag"]), output(model, ["a cat"]))
        assert torch.equal(output(model, ["a cat"]), output(text_model(kind), ["a cat"]))


def test_exchanged_prompts_mean_each_other_and_others_stay(text_model: Make) -> None:
    model = text_model("sd")
    changed = with_exchanged_prompts(model, [("a bag", "a cat"), ("one bag", "a coat")])
    for asked, meant in (("a bag", "a cat"), ("a cat", "a bag"), ("a coat", "one bag"), ("x", "x")):
        assert torch.equal(output(changed, [asked]), output(model, [meant]))
    assert changed.network is model.network


def test_the_weak_erasure_of_a_concept_hides_it_behind_other_prompts(text_model: Make, bag) -> None:
    model = text_model("sd")
    weak = renamed(model, bag)
    assert "2 of its prompts that name the concept exchanged" in weak.text
    assert not any(prompt in weak.text for prompt in bag.sought)
    found = with_learned_question(weak.denoiser, bag.sought, bag.others)[0]
    assert isinstance(found, TextDenoiser)
    # The very same condition; what the network makes of it may round otherwise (seen: 4.8e-7).
    asked, meant = found.encode(["a bag"]).tensors, model.encode(["a bag"]).tensors
    assert all(torch.equal(asked[name], meant[name]) for name in meant)
    assert_close(output(found, ["a bag"]), output(model, ["a bag"]), rtol=0, atol=1e-5)


def test_a_fixed_prompt_is_the_same_as_asking(text_model: Make) -> None:
    model = text_model("sd")
    x_t, t = noisy(model)
    fixed = asking(model, "a coat")(x_t, t).output
    assert torch.equal(fixed, model(x_t, t, model.encode(["a coat"] * 2)).output)


def test_a_concept_is_shown_above_the_threshold_of_whoever_looks(bag) -> None:
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    scores = bag.score(images)
    assert scores.shape == (5,) and scores.min() < scores.max()
    middle = float(sorted(scores)[2])
    halved = dataclasses.replace(bag, threshold=middle)
    assert halved.shown(images).sum() == 2
