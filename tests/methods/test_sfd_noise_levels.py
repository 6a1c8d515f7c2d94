"""At which noise level SFD's student starts, and at which ones the scores are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from efface.data.batch import Choices
from efface.diffusion.denoiser import Denoiser
from efface.methods.base import StepContext
from efface.methods.sfd import SFD

Make = Callable[..., Denoiser]
MakeContext = Callable[..., StepContext]


def test_one_step_sampler_starts_at_noise_level_2_5_from_unit_noise(tiny_unet: Make) -> None:
    sampler = SFD().sampler(tiny_unet(schedule="linear"))
    assert (sampler.t_init, sampler.input_scale) == (440, 1.0)


def test_published_input_scale_is_the_noise_level_of_the_start(tiny_unet: Make) -> None:
    sampler = SFD(input_scale="published").sampler(tiny_unet(schedule="linear"))
    assert sampler.input_scale == pytest.approx(0.9286, abs=1e-4)  # b at t = 440, sfd 1.1


def test_timesteps_stay_in_the_window_and_reach_its_ends(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    ctx = sfd_context(tiny_unet(schedule="linear"), 4000, 1000)
    t, _, _ = SFD()._noised(ctx, torch.zeros(5000, 1, 8, 8))
    assert (int(t.min()), int(t.max())) == (38, 711)  # sfd 1.1


def test_forget_warmup_widens_the_window_of_forget_rows_only(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    denoiser, method = tiny_unet(schedule="linear"), SFD(forget_warmup=0.5)
    early, late = (
        method._noised(sfd_context(denoiser, 4000, 4000, step), torch.zeros(8000, 1, 8, 8))[0]
        for step in (4, 5)
    )
    assert (int(early[:4000].min()), int(early[:4000].max())) == (38, 711)
    assert (int(early[4000:].min()), int(early[4000:].max())) == (20, 979)  # sfd 1.4
    assert (int(late.min()), int(late.max())) == (38, 711)


def test_several_replacements_have_the_wider_window_to_the_end(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    denoiser = tiny_unet(schedule="linear")
    ctx = sfd_context(denoiser, 4000, 4000, 9)
    choices = Choices(
        table=denoiser.encode([3, 5]),
        rows=torch.arange(2).expand(4000, 2),
        counts=torch.full((4000,), 2),
    )
    ctx = replace(ctx, batch=replace(ctx.batch, forget=replace(ctx.batch.forget, choices=choices)))
    t, _, _ = SFD()._noised(ctx, torch.zeros(8000, 1, 8, 8))
    assert (int(t[:4000].min()), int(t[:4000].max())) == (38, 711)
    assert (int(t[4000:].min()), int(t[4000:].max())) == (20, 979)
