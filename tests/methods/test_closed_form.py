"""The map that redirects words, against the closed form of every single layer, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from efface.diffusion.cross_attention import text_layers
from efface.diffusion.text.denoiser import TextDenoiser
from efface.methods.base import StepContext
from efface.methods.closed_form import redirecting_map
from efface.methods.uce import UCE

D = 12
SLIGHT = 1e-9  # weight of the change of the weights that is next to none
Make = Callable[..., TextDenoiser]


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def closed_form(
    w: Tensor, c: Tensor, v: Tensor, r: Tensor, weights: tuple[float, float, float]
) -> Tensor:
    """W' of one layer, term by term, with v_i (N, out) for c_i (N, D) and W c_j kept for r_j."""
    lam, alpha, beta = weights
    left, right = lam * w, lam * torch.eye(w.shape[1], dtype=w.dtype)
    for c_i, v_i in zip(c, v, strict=True):
        left = left + alpha * torch.outer(v_i, c_i)
        right = right + alpha * torch.outer(c_i, c_i)
    for r_j in r:
        left = left + beta * torch.outer(w @ r_j, r_j)
        right = right + beta * torch.outer(r_j, r_j)
    return left @ torch.linalg.inv(right)


@pytest.mark.parametrize("weights", [(0.5, 1.0, 1.0), (0.1, 1.0, 0.1), (3.0, 0.2, 2.0)])
def test_one_map_is_the_closed_form_of_every_layer(weights: tuple[float, float, float]) -> None:
    c, g, r = random(2, D), random(2, D, seed=1), random(5, D, seed=2)
    mapping = redirecting_map(c, g, r, weights)
    for seed, out in ((3, 4), (4, 20)):
        w = random(out, D, seed=seed)
        assert_close(w @ mapping, closed_form(w, c, g @ w.T, r, weights))


def test_the_minimum_of_the_sum_of_squares_is_found() -> None:
    """No gradient is left at W T, with every term spelled out."""
    c, g, r, w = random(2, D), random(2, D, seed=1), random(5, D, seed=2), random(7, D, seed=3)
    lam, alpha, beta = 0.3, 1.2, 0.7
    edited = (w @ redirecting_map(c, g, r, (lam, alpha, beta))).requires_grad_(True)
    loss = lam * (edited - w).square().sum()
    loss = loss + alpha * (c @ edited.T - g @ w.T).square().sum()
    loss = loss + beta * (r @ edited.T - r @ w.T).square().sum()
    (gradient,) = torch.autograd.grad(loss, edited)
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)


def test_a_single_word_changes_along_itself_alone() -> None:
    """W' = W + (v - W c) c^T / (lambda / alpha + |c|^2); what is orthogonal to c is the same."""
    c, g, w = random(1, D), random(1, D, seed=1), random(7, D, seed=2)
    lam, alpha = 0.5, 2.0
    edited = w @ redirecting_map(c, g, torch.empty(0, D, dtype=torch.float64), (lam, alpha, 1.0))
    v = w @ g[0]
    expected = w + torch.outer(v - w @ c[0], c[0]) / (lam / alpha + c[0].square().sum())
    assert_close(edited, expected)
    other = random(D, seed=3)
    other -= c[0] * (other @ c[0]) / c[0].square().sum()
    assert_close(edited @ other, w @ other)


def test_with_little_weight_on_the_change_the_word_is_its_replacement() -> None:
    c, g, w = random(3, D), random(3, D, seed=1), random(7, D, seed=2)
    nothing = torch.empty(0, D, dtype=torch.float64)
    before = (c @ w.T - g @ w.T).norm()
    for lam, share in ((1e-3, 1e-2), (1e-6, 1e-5), (SLIGHT, 1e-7)):
        edited = w @ redirecting_map(c, g, nothing, (lam, 1.0, 1.0))
        assert (c @ edited.T - g @ w.T).norm() < share * before


def test_words_of_no_weight_change_nothing_at_all() -> None:
    c, g, r = random(2, D), random(2, D, seed=1), random(5, D, seed=2)
    assert redirecting_map(c, g, r, (0.5, 0.0, 1.0)).equal(torch.eye(D, dtype=torch.float64))


def test_retained_words_change_less_the_more_they_weigh() -> None:
    c, g, r, w = random(1, D), random(1, D, seed=1), random(5, D, seed=2), random(7, D, seed=3)
    changes = [
        (r @ (w @ redirecting_map(c, g, r, (0.5, 1.0, beta)) - w).T).norm()
        for beta in (0.0, 0.1, 1.0, 100.0)
    ]
    assert changes == sorted(changes, reverse=True) and changes[-1] < 0.01 * changes[0]


def with_bias(denoiser: TextDenoiser) -> TextDenoiser:
    """The same model, whose key and value layers have a bias."""
    for number, layer in enumerate(text_layers(denoiser.network)):
        layer.bias = nn.Parameter(7 * random(layer.out_features, seed=number).float())
    return denoiser


@pytest.mark.parametrize("biased", [False, True])
def test_the_whole_output_for_a_word_becomes_that_of_its_replacement(
    text_model: Make, make_context: Callable[..., StepContext], biased: bool
) -> None:
    """Also where a layer has a bias, which is not counted twice."""
    denoiser = text_model("sd", fresh=True)
    method = UCE(change_weight=SLIGHT, retain_weight=0.0)
    ctx = make_context(method, with_bias(denoiser) if biased else denoiser)
    method.edit(ctx)
    assert ctx.words is not None
    edited = text_layers(ctx.networks["student"].network)
    for before, after in zip(text_layers(denoiser.network), edited, strict=True):
        assert (before.bias is not None) == biased
        assert_close(after(ctx.words.forget), before(ctx.words.target), rtol=0, atol=1e-4)
        assert (before(ctx.words.forget) - before(ctx.words.target)).abs().max() > 0.05


def test_nothing_beside_keys_and_values_is_edited(
    text_model: Make, make_context: Callable[..., StepContext]
) -> None:
    denoiser, method = text_model("sd"), UCE()
    ctx = make_context(method, denoiser)
    method.edit(ctx)
    after = ctx.networks["student"].network.state_dict()
    changed = {k for k, v in denoiser.network.state_dict().items() if not v.equal(after[k])}
    names = (".attn2.to_k.weight", ".attn2.to_v.weight")
    assert changed == {name for name in after if name.endswith(names)}


def test_weights_of_half_precision_are_solved_for_in_double(
    text_model: Make, make_context: Callable[..., StepContext]
) -> None:
    method = UCE(change_weight=SLIGHT, retain_weight=0.0)
    whole = make_context(method, text_model("sd"))
    half = make_context(method, text_model("sd"))
    student = half.networks["student"]
    networks = {"student": student.with_network(student.network.bfloat16())}
    for ctx in (whole, replace(half, networks=networks)):
        method.edit(ctx)
    pairs: Any = zip(*(text_layers(c.networks["student"].network) for c in (whole, half)))  # noqa: B905
    for exact, rounded in pairs:
        assert rounded.weight.dtype == torch.bfloat16
        assert_close(rounded.weight.float(), exact.weight, rtol=0, atol=0.02)


def test_a_method_without_a_loss_says_so(
    text_model: Make, make_context: Callable[..., StepContext]
) -> None:
    with pytest.raises(NotImplementedError, match="UCE trains nothing"):
        UCE().loss("student", make_context(UCE(), text_model("sd")))
