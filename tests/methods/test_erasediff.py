"""EraseDiff: the step never raises the forget loss, however the retain gradient lies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from efface.diffusion.denoiser import Denoiser
from efface.methods.base import StepContext
from efface.methods.erasediff import EraseDiff
from efface.methods.gradient_rules import Products


@pytest.mark.parametrize("eta", [0.01, 0.1, 1.0])
def test_a_step_descends_the_forget_loss_by_its_share(
    tiny_unet: Callable[..., Denoiser],
    labelled_context: Callable[..., StepContext],
    gradients,
    eta: float,
) -> None:
    """<g_R + c g_q, g_q> >= eta |g_q|^2, also where both conflict, as for the reversed loss."""
    method = EraseDiff(eta=eta)
    ctx = labelled_context(method, tiny_unet())
    g_r, g_q = gradients(method.loss("student", ctx), ctx.networks["student"])
    for retain in (g_r, -g_r, -100 * g_q, 5 * g_q):
        products = Products(
            retain=retain.square().sum(), forget=g_q.square().sum(), cross=(retain * g_q).sum()
        )
        coefficient = method.rule("student").coefficient(products, {})
        descent = ((retain + coefficient * g_q) * g_q).sum()
        assert coefficient >= 0
        assert descent >= (eta - 1e-3) * products.forget


def test_where_the_labels_agree_it_is_fine_tuning(
    tiny_unet: Callable[..., Denoiser], labelled_context: Callable[..., StepContext], gradients
) -> None:
    method = EraseDiff()
    ctx = labelled_context(method, tiny_unet(), replacement=0)
    terms = method.loss("student", ctx)
    assert terms.forget is not None
    assert_close(terms.forget.detach(), torch.zeros(()), atol=1e-6, rtol=0)
    _, g_q = gradients(terms, ctx.networks["student"])
    assert g_q.norm() < 1e-4
