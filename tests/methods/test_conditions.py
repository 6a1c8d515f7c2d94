"""What methods on conditions share: which target a row has, and the two sides of a batch."""

from collections.abc import Callable
from dataclasses import replace

import torch

from efface.data.batch import Choices
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import OneStep
from efface.methods.base import StepContext
from efface.methods.conditions import by_side, choose_target, guide_teacher, replacement_directions

Make = Callable[..., Denoiser]
MakeContext = Callable[..., StepContext]


def test_the_sides_are_averaged_apart(tiny_unet: Make, sfd_context: MakeContext) -> None:
    ctx = sfd_context(tiny_unet())
    retain, forget = ctx.batch.retain.size, ctx.batch.forget.size
    losses = torch.cat([torch.full((retain,), 2.0), torch.full((forget,), 5.0)])
    terms = by_side(ctx, losses, 0.5)
    assert terms.retain == 2.0 and terms.forget == 2.5


def test_one_replacement_is_the_target_whatever_the_noise(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    ctx = sfd_context(tiny_unet())
    z = torch.randn(ctx.batch.size, 3)
    target = ctx.batch.target
    assert choose_target(ctx, target, z) is target
    assert replacement_directions(ctx, OneStep(500)) == {}
    assert guide_teacher(ctx, ctx.batch.target, 1.3) == (1.3, None)


def test_of_several_replacements_the_noise_chooses_the_same_again(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    denoiser = tiny_unet()
    ctx = sfd_context(denoiser, forget=4)
    choices = Choices(
        table=denoiser.encode([3, 5, 8]),
        rows=torch.arange(3).repeat(4, 1),
        counts=torch.full((4,), 3),
    )
    batch = replace(ctx.batch, forget=replace(ctx.batch.forget, choices=choices))
    ctx = replace(ctx, batch=batch)

    ctx = replace(ctx, prepared=replacement_directions(ctx, OneStep(500)))
    z = torch.randn(ctx.batch.size, *denoiser.sample_shape)
    target = ctx.batch.retain.target
    assert target is not None
    first, second = (choose_target(ctx, target, z) for _ in range(2))
    assert first is not None and second is not None and len(first) == len(target) + 4
    assert all(
        a.equal(b) for a, b in zip(first.tensors.values(), second.tensors.values(), strict=True)
    )
