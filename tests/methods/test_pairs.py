"""Pairs of images at one noise level: what noises them, and rows of their conditions."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from efface.diffusion.denoiser import Condition
from efface.methods.pairs import Pairs, condition_rows


def test_noise_towards_is_the_inverse_of_noising() -> None:
    torch.manual_seed(0)
    x, a, eps = torch.randn(3, 5, 1, 2, 2)
    sigma = torch.linspace(0.1, 0.9, 5).view(-1, 1, 1, 1)
    pairs = Pairs(
        x=x,
        a=a,
        t=torch.arange(5),
        eps=eps,
        levels=((1 - sigma.square()).sqrt(), sigma),
        in_window=torch.ones(5, dtype=torch.bool),
        teacher_rows=torch.zeros(5, dtype=torch.bool),
    )
    for y in (x, a):
        assert_close(pairs.noise_towards(y, pairs.noised(y)), eps)
    m = pairs.noised(x)
    assert_close(pairs.levels[0] * a + sigma * pairs.noise_towards(a, m), m)


def test_unconditional_models_have_no_rows_of_a_condition() -> None:
    condition = Condition({"c": torch.arange(4)})
    rows = condition_rows(condition, torch.tensor([2, 0]))
    assert rows is not None and rows.tensors["c"].tolist() == [2, 0]
    assert condition_rows(None, slice(None)) is None
