"""Concept ablation against its formula, on samples of the anchor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch.testing import assert_close

from efface.diffusion.denoiser import Denoiser
from efface.methods.base import StepContext
from efface.methods.concept_ablation import ConceptAblation

Make = Callable[..., Denoiser]
MakeContext = Callable[..., StepContext]


def test_the_concept_regresses_the_anchor_where_the_anchor_is(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Callable
) -> None:
    method = ConceptAblation(partial_steps=2)
    ctx = sfd_context(tiny_unet())
    ctx = replace(ctx, networks={k: ctx.networks[k] for k in ("teacher", "student")})
    with recorded(ctx) as calls:
        terms = method.loss("student", ctx)
    assert [set(labels.tolist()) for _, _, labels in calls["teacher"]] == [{1}, {1}]
    assert [set(labels.tolist()) for _, _, labels in calls["student"]] == [{1}, {0}]
    (x_t, t, anchor), (same, _, concept) = calls["student"]
    assert x_t.equal(same) and len(x_t) == ctx.batch.forget.size
    network = ctx.networks["student"].network
    with torch.no_grad():
        difference = (
            network(x_t, t, class_labels=concept).sample
            - network(x_t, t, class_labels=anchor).sample
        )
    assert terms.forget is not None and float(terms.retain) == 0
    assert_close(terms.forget.detach(), difference.square().sum((1, 2, 3)).mean())


def test_an_anchor_that_is_the_concept_leaves_nothing_to_learn(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    method, denoiser = ConceptAblation(partial_steps=1), tiny_unet()
    denoiser.network.eval()
    ctx = replace(sfd_context(denoiser), networks=method.networks(denoiser))
    same = replace(ctx.batch.forget, target=ctx.batch.forget.condition)
    terms = method.loss("student", replace(ctx, batch=replace(ctx.batch, forget=same)))
    assert terms.forget is not None and terms.forget.item() == 0
