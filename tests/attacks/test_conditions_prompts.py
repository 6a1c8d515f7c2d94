"""Prompts as an attack changes them: exchanged, learned."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from efface.attacks.conditions import with_exchanged_prompts, with_learned_prompt
from efface.diffusion.text.denoiser import TextDenoiser

Make = Callable[..., TextDenoiser]
KINDS = ["sd", *(pytest.param(k, marks=pytest.mark.slow) for k in ("sdxl", "flux", "pixart_sigma"))]


def output(denoiser: TextDenoiser, prompts: list[str]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn((len(prompts), *denoiser.sample_shape), generator=generator)
    return denoiser(x_t, torch.full((len(prompts),), 500), denoiser.encode(prompts)).output


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


def test_exchanged_prompts_mean_each_other_and_others_are_as_before(text_model: Make) -> None:
    model = text_model("sd")
    changed = with_exchanged_prompts(model, [("a bag", "a cat"), ("one bag", "a coat")])
    for prompt, meant in (
        ("a bag", "a cat"),
        ("a cat", "a bag"),
        ("a coat", "one bag"),
        ("x", "x"),
    ):
        assert torch.equal(output(changed, [prompt]), output(model, [meant]))
    assert changed.network is model.network
