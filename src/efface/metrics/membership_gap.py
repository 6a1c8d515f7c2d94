"""Does the network know these images: its denoising loss on forgotten against unseen ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize, special
from torch import Tensor

from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Denoiser
from efface.errors import DataError, RequestError
from efface.metrics.intervals import Estimate, linear, proportion, ratio
from efface.progress import Bar

RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class MembershipGap:
    """How the loss on forgotten images differs from that on images never seen.

    `gap` is (mean unseen loss - mean forgotten loss) / mean unseen loss: 0 as if never seen, above
    0 remembered, below 0 pushed beyond never-seen. `auc` is the probability that a forgotten
    image has a lower mean loss than an unseen one, ties half: 0.5 as if never seen.
    """

    gap: Estimate
    auc: Estimate
    per_timestep: list[tuple[int, float, float]]  # t, mean forgotten loss, mean unseen loss


def loss_timesteps(num_timesteps: int, count: int = 10) -> list[int]:
    """Mid-points of `count` equal parts of the timesteps 0 to num_timesteps - 1."""
    if not 1 <= count <= num_timesteps:
        raise RequestError(
            f"{count} timesteps were asked for: this model has {num_timesteps}. Ask for 1 to "
            f"{num_timesteps}."
        )
    return [(2 * part + 1) * num_timesteps // (2 * count) for part in range(count)]


@torch.inference_mode()
def denoising_losses(
    denoiser: Denoiser,
    images: Tensor,
    timesteps: Sequence[int],
    draws: int,
    seed: int,
    batch_size: int = 256,
    quiet: bool = False,
) -> np.ndarray:
    """Squared error of the predicted eps, mean over pixels and draws: (N, C, H, W) -> (N, T).

    The noise depends on (seed, t, draw) alone: every image and every model gets the same, so
    that differences are not those of the noise. Images are in model space.
    """
    denoiser.network.eval()
    jobs = [(column, draw) for column in range(len(timesteps)) for draw in range(draws)]
    at_once = max(1, batch_size // len(images))
    losses = torch.zeros(len(images), len(timesteps), dtype=torch.float64)
    with Bar("denoising losses", len(jobs), hidden=quiet) as bar:
        for start in range(0, len(jobs), at_once):
            part = jobs[start : start + at_once]
            columns = torch.tensor([column for column, _ in part])
            t = torch.tensor([timesteps[column] for column, _ in part])
            seeds = [derive_seed(seed, timesteps[column], draw) for column, draw in part]
            for first in range(0, len(images), batch_size):
                rows = slice(first, first + batch_size)
                errors = _eps_errors(denoiser, images[rows], t, seeds)
                losses[rows].index_add_(1, columns, errors.double().cpu())
            bar.advance(len(part))
    return (losses / draws).numpy()


def _eps_errors(denoiser: Denoiser, images: Tensor, t: Tensor, seeds: list[int]) -> Tensor:
    """Mean squared error of eps for every image and every (t, seed): (N, C, H, W) -> (N, J)."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    noise = torch.stack([torch.randn(images.shape[1:], generator=g) for g in generators])
    x0 = images.to(denoiser.device).repeat_interleave(len(seeds), 0)
    eps = noise.to(denoiser.device).repeat(len(images), 1, 1, 1)
    t = t.to(denoiser.device).repeat(len(images))
    predicted = denoiser(denoiser.schedule.add_noise(x0, eps, t), t).eps
    return (predicted - eps).square().flatten(1).mean(1).view(len(images), len(seeds))


def membership_gap(
    forgotten_losses: np.ndarray, unseen_losses: np.ndarray, timesteps: Sequence[int]
) -> MembershipGap:
    """Compare losses (K, T) of forgotten images with (M, T) of unseen ones, both at `timesteps`.

    Both intervals are conservative. They take losses of forgotten images to be spread as those of
    unseen ones, but for a factor, where they say more than their own spread. With a single image
    they are prediction intervals: 0 and a half are outside where its loss would be unusual among
    the unseen ones. Losses are above 0.
    """
    widths = {forgotten_losses.shape[1], unseen_losses.shape[1], len(timesteps)}
    if len(widths) > 1 or len(forgotten_losses) < 1 or len(unseen_losses) < 2:
        raise DataError(
            f"losses of shapes {forgotten_losses.shape} and {unseen_losses.shape} at "
            f"{len(timesteps)} timesteps cannot be compared: give at least one forgotten and two "
            "unseen images, all at the same timesteps."
        )
    forgotten, unseen = forgotten_losses.mean(1), unseen_losses.mean(1)
    columns = zip(timesteps, forgotten_losses.mean(0), unseen_losses.mean(0), strict=True)
    gap = _gap(forgotten, unseen)
    return MembershipGap(
        gap=gap,
        auc=_auc(forgotten, unseen, gap),
        per_timestep=[(int(t), float(known), float(new)) for t, known, new in columns],
    )


def _gap(forgotten: np.ndarray, unseen: np.ndarray) -> Estimate:
    """1 - a / b of the means a and b; what the interval of either way reaches.

    That of the ratio of two means with intervals of their own, each with its degrees of freedom
    (Zou & Donner, 2008), which is too narrow for a few skewed losses; and what the mean of as many
    unseen losses does by chance. Of a single image only the latter, on the scale of logarithms by
    Student's prediction interval.
    """
    value = float(forgotten.mean() / unseen.mean())
    if len(forgotten) == 1:
        logs = np.log(unseen)
        centre = float(np.log(forgotten[0]) - logs.mean())
        t = float(special.stdtrit(len(unseen) - 1, 0.975))
        reach = t * float(logs.std(ddof=1)) * (1 + 1 / len(unseen)) ** 0.5
        low, high = (math.exp(centre + sign * reach) for sign in (-1, 1))
    else:
        own = ratio(*(linear(float(losses.mean()), losses) for losses in (forgotten, unseen)))
        rng = np.random.default_rng(0)
        chance = _resampled_means(unseen, len(forgotten), rng) / _resampled_means(
            unseen, len(unseen), rng
        )
        lower, upper = np.quantile(chance, [0.025, 0.975])
        low, high = min(own.low, value / float(upper)), max(own.high, value / float(lower))
    return Estimate(1 - value, 1 - max(high, value), 1 - min(low, value))


def _resampled_means(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Means (RESAMPLES,) of `count` values, drawn with replacement."""
    return values[rng.integers(0, len(values), (RESAMPLES, count))].mean(1)


def _auc(forgotten: np.ndarray, unseen: np.ndarray, gap: Estimate) -> Estimate:
    value = _share_above(forgotten, unseen)
    if len(forgotten) == 1:
        # Unseen losses by the factors that the gap leaves possible, against unseen ones.
        low, high = (_share_above((1 - g) * unseen, unseen) for g in (gap.low, gap.high))
        surest = proportion(len(unseen), len(unseen)).low
        return Estimate(value, min(low, value, surest), max(high, value, 1 - surest))
    low = _lower_bound(value, len(forgotten), len(unseen))
    return Estimate(value, low, 1 - _lower_bound(1 - value, len(forgotten), len(unseen)))


def _share_above(losses: np.ndarray, unseen: np.ndarray) -> float:
    """Share of pairs whose unseen loss is above the other one, ties half."""
    ordered = np.sort(unseen)
    not_above = np.searchsorted(ordered, losses, "right")
    below = np.searchsorted(ordered, losses, "left")
    return 1 - float((not_above + below).mean()) / (2 * len(unseen))


def _lower_bound(auc: float, forgotten: int, unseen: int) -> float:
    """Where auc is z standard errors above the bound, with the error at the bound.

    Hanley & McNeil's variance (1982), made symmetric (Newcombe, 2006, method 5): inside [0, 1] and
    of some width even if the two sets are apart.
    """
    z = float(special.ndtri(0.975))
    others = (forgotten + unseen) / 2 - 1

    def excess(bound: float) -> float:
        spread = 1 + others * ((1 - bound) / (2 - bound) + bound / (1 + bound))
        pairs = forgotten * unseen
        error = bound * (1 - bound) * spread / pairs
        return auc - bound - z * error**0.5

    return float(optimize.brentq(excess, 0, min(auc, 1 - 1e-12))) if auc > 0 else 0.0  # pyright: ignore
