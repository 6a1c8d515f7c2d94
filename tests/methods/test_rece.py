"""RECE against its published formulas, layer by layer, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from efface.data.batch import WordBank
from efface.methods.closed_form import on_cpu
from efface.methods.rece import RECE, recreate
from efface.methods.uce import UCE

D = 16
NORM_WEIGHT = 1e-3


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def words() -> WordBank:
    return WordBank(
        forget=random(2, D, seed=1), target=random(2, D, seed=2), retain=random(5, D, seed=3)
    )


@pytest.fixture
def layers() -> list[nn.Linear]:
    """As many outputs as in no other layer, one with a bias."""
    made = [nn.Linear(D, out, bias=out == 24) for out in (8, 24, 40)]
    for seed, layer in enumerate(made):
        layer.weight = nn.Parameter(random(layer.out_features, D, seed=10 + seed))
    return made


def weights_of(layers: Sequence[nn.Linear]) -> list[Tensor]:
    return [on_cpu(layer) for layer in layers]


def error(edited: Sequence[Tensor], x: Tensor, before: Sequence[Tensor], y: Tensor) -> float:
    """|W^e x - W^0 y| over all layers, as a share of |W^0 y|."""
    pairs = list(zip(edited, before, strict=True))
    off = torch.stack([(x @ e.T - y @ w.T).square().sum() for e, w in pairs]).sum()
    return float((off / torch.stack([(y @ w.T).square().sum() for w in before]).sum()).sqrt())


def uce(w: Tensor, c: Tensor, words: WordBank, lam: float, beta: float) -> Tensor:
    v, r = words.target @ w.T, words.retain
    left = lam * w + v.T @ c + beta * (r @ w.T).T @ r
    right = lam * torch.eye(D, dtype=w.dtype) + c.T @ c + beta * r.T @ r
    return left @ torch.linalg.inv(right)


@pytest.mark.parametrize("rounds", [1, 3])
def test_rounds_are_the_published_formulas_on_every_layer(
    words: WordBank, layers: list[nn.Linear], rounds: int
) -> None:
    """c' of all layers together, then UCE of the edited weights; the weights as defaults."""
    method = RECE(rounds=rounds)
    before = weights_of(layers)
    edited = [uce(w, words.forget, words, 0.1, 0.1) for w in before]
    for _ in range(rounds):
        left = torch.stack([e.T @ e for e in edited]).sum(0) + 0.1 * torch.eye(D).double()
        pairs = zip(edited, before, strict=True)
        right = torch.stack([e.T @ w for e, w in pairs]).sum(0)
        again = (torch.linalg.inv(left) @ right @ words.forget.T).T
        edited = [uce(e, again, words, 0.1, 0.1) for e in edited]
    mapping = method.map(words, layers)
    for w, expected in zip(before, edited, strict=True):
        assert_close(w @ mapping, expected, rtol=1e-6, atol=1e-8)


def test_what_is_recreated_brings_the_concept_back_and_is_redirected_next(
    words: WordBank, layers: list[nn.Linear]
) -> None:
    before = weights_of(layers)
    first = UCE(change_weight=0.5, retain_weight=0.1)
    mapping = first.map(words, layers)
    edited = [w @ mapping for w in before]
    gram = torch.stack([w.T @ w for w in before]).sum(0)
    again = recreate(words.forget, mapping, gram, NORM_WEIGHT)
    c, g = words.forget, words.target
    brought_back = error(edited, again, before, c)
    assert brought_back < 0.2 * error(edited, c, before, c)

    second = RECE(change_weight=0.5, retain_weight=0.1, norm_weight=NORM_WEIGHT)
    final = [w @ second.map(words, layers) for w in before]
    assert error(final, again, before, c) > 3 * brought_back
    assert error(final, again, edited, g) < 0.5 * error(edited, again, edited, g)

    closer = RECE(change_weight=1e-9, retain_weight=0.0, norm_weight=NORM_WEIGHT)
    start = UCE(change_weight=1e-9, retain_weight=0.0).map(words, layers)
    again = recreate(c, start, gram, NORM_WEIGHT)
    edited = [w @ start for w in before]
    final = [w @ closer.map(words, layers) for w in before]
    assert error(final, again, edited, g) < 1e-4


def test_what_is_recreated_minimises_its_sum_of_squares(
    words: WordBank, layers: list[nn.Linear]
) -> None:
    before = weights_of(layers)
    mapping = UCE().map(words, layers)
    gram = torch.stack([w.T @ w for w in before]).sum(0)
    again = recreate(words.forget, mapping, gram, 0.1).requires_grad_(True)
    loss = 0.1 * again.square().sum()
    for w in before:
        loss = loss + (again @ (w @ mapping).T - words.forget @ w.T).square().sum()
    (gradient,) = torch.autograd.grad(loss, again)
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


def test_retained_words_stay_while_rounds_go_on(words: WordBank, layers: list[nn.Linear]) -> None:
    before, r = weights_of(layers), words.retain
    heavy = RECE(rounds=3, retain_weight=1e4)
    assert error([w @ heavy.map(words, layers) for w in before], r, before, r) < 0.01
