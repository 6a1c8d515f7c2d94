"""What methods on conditions share: targets, guidance, and the two sides of a batch."""

import torch
from torch import Tensor

from efface.data.batch import spread_directions
from efface.diffusion.denoiser import Condition
from efface.diffusion.sampling import Sampler
from efface.methods.base import LossTerms, StepContext

MEAN_OF = 32  # samples in the mean image of a replacement


@torch.no_grad()
def replacement_directions(ctx: StepContext, sampler: Sampler) -> dict[str, Tensor]:
    """Directions in noise by which one of several replacements is chosen: of the teacher's means.

    So a model learns the map with little effort: noise becomes what it is like. There are none
    where one replacement is all.
    """
    choices, teacher = ctx.batch.forget.choices, ctx.networks["teacher"]
    if choices is None:
        return {}
    # Noise of its own: a batch is seen in parts, of which there may be more or fewer.
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(MEAN_OF, *teacher.sample_shape, generator=generator).to(teacher.device)
    same = torch.zeros(MEAN_OF, dtype=torch.long)
    means = [
        sampler.draw(teacher, z, choices.table[same + row]).mean(0)
        for row in range(len(choices.table))
    ]
    return {"directions": spread_directions(torch.stack(means))}


def choose_target(ctx: StepContext, target: Condition | None, z: Tensor) -> Condition | None:
    """Targets, of which those of forget rows follow from the noise `z` (B, ...) where several."""
    retain, choices = ctx.batch.retain.size, ctx.batch.forget.choices
    if target is None or choices is None:
        return target
    chosen = choices.of(z[retain:], ctx.prepared["directions"])
    return Condition.cat([target[:retain], chosen])


def guide_teacher(
    ctx: StepContext, target: Condition | None, guidance: float, retained: float | None = None
) -> tuple[float | Tensor, Condition | None]:
    """The teacher's guidance, (B,) or one number, and the condition that it moves away from.

    `retained` is that of retained rows, where it is another.
    """
    batch, negative = ctx.batch, ctx.batch.negative
    by_row: float | Tensor = guidance
    if target is not None and retained not in (None, guidance):
        sides = [(batch.retain.size, retained), (batch.forget.size, guidance)]
        by_row = torch.cat([torch.full((n,), w, device=target.device) for n, w in sides])
    if negative is None or target is None:
        return by_row, None
    null = ctx.networks["teacher"].null(target).where(negative.rows, negative.condition)
    return torch.where(negative.rows, negative.guidance, by_row), null


def by_side(ctx: StepContext, losses: Tensor, forget_weight: float) -> LossTerms:
    """Mean of each side's rows (B,), the forget side times its weight."""
    retain, forget = losses.split([ctx.batch.retain.size, ctx.batch.forget.size])
    if len(forget) == 0:
        return LossTerms(retain=retain.mean())
    return LossTerms(retain=retain.mean(), forget=forget_weight * forget.mean())
