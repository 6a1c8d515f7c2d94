"""Baselines on the original model's samples: where their rows come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch.testing import assert_close

from efface.data.randomness import RowRandom, Shard
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import denoise_to, first_timestep
from efface.methods.base import StepContext
from efface.methods.concept_ablation import ConceptAblation


def test_rows_to_forget_lie_on_the_original_models_path(
    tiny_unet: Callable[..., Denoiser], sfd_context: Callable[..., StepContext]
) -> None:
    method, denoiser = ConceptAblation(partial_steps=3), tiny_unet()
    ctx = replace(sfd_context(denoiser), networks=method.networks(denoiser))
    condition = ctx.batch.forget.condition
    t, x_t = method.sample_path(ctx, condition)
    rows = ctx.batch.retain.size
    rng = RowRandom(11, Shard(), (rows, ctx.batch.forget.size), "cpu")
    z, last = rng.normal(denoiser.sample_shape), first_timestep(denoiser)
    expected = rng.integers(0, last + 1)[rows:]
    assert t.equal(expected) and len(x_t) == ctx.batch.forget.size
    assert not x_t.requires_grad
    assert_close(x_t, denoise_to(t, denoiser.frozen(), z[rows:], condition, 3).detach())
