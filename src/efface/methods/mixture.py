"""The mathematics of two noised images: log odds, weights of the defensive mixture, posteriors.

q(m|y) = N(alpha_t y, sigma_t^2 I). All in float32, for images of any rank.
"""

import math

import torch
from torch import Tensor

from efface.data.batch import ImageBank
from efface.methods.base import per_sample_sum

LARGEST_LOG_WEIGHT = 30.0  # at lambda 0 or 1 a weight is exp(+-log odds): capped here


def log_odds(m: Tensor, x: Tensor, a: Tensor, levels: tuple[Tensor, Tensor]) -> Tensor:
    """Log q(m|a) - log q(m|x) per sample, (B, ...) -> (B,).

    The midpoint form alpha / sigma^2 <m - alpha (x + a) / 2, a - x>: one reduction, and no
    difference of two large distances. `levels` are alpha and sigma, broadcast over m.
    """
    alpha, sigma = levels
    return per_sample_sum(alpha / sigma.square() * (m - alpha * (x + a) / 2) * (a - x))


def mixture_weights(odds: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """(w_x, w_a) of SISS (arXiv 2503.01034): q(m|x) and q(m|a) over the mixture, (B,) each.

    The mixture is (1 - share) q(m|x) + share q(m|a), so (1 - share) w_x + share w_a = 1. Where the
    mixture is one arm alone the other's weight is unbounded, and capped at exp(30).
    """
    if share == 0:
        return torch.ones_like(odds), odds.clamp_max(LARGEST_LOG_WEIGHT).exp()
    if share == 1:
        return (-odds).clamp_max(LARGEST_LOG_WEIGHT).exp(), torch.ones_like(odds)
    shifted = odds + math.log(share / (1 - share))
    return torch.sigmoid(-shifted) / (1 - share), torch.sigmoid(shifted) / share


def log_kernels(m: Tensor, images: Tensor, levels: tuple[Tensor, Tensor]) -> Tensor:
    """Log q(m_i | y_j) up to a number that depends on i alone: (B, ...), (N, ...) -> (B, N)."""
    alpha, sigma = (level.flatten(1) for level in levels)
    flat, bank = m.flatten(1), images.flatten(1)
    with torch.autocast(m.device.type, enabled=False):
        products = flat @ bank.T
    # |m - alpha y|^2 without |m|^2, which is the same for every y.
    distances = alpha.square() * bank.square().sum(1) - 2 * alpha * products
    return -distances / (2 * sigma.square())


def posterior_mean(m: Tensor, images: Tensor, levels: tuple[Tensor, Tensor]) -> Tensor:
    """E[y | m] when y is uniform over `images` (N, ...): (B, ...)."""
    weights = log_kernels(m, images, levels).softmax(1)
    with torch.autocast(m.device.type, enabled=False):
        return (weights @ images.flatten(1)).view_as(m)


def posterior_shares(m: Tensor, bank: ImageBank, levels: tuple[Tensor, Tensor]) -> Tensor:
    """w_j(m), the posterior share of every image to forget at m: (B, ...) -> (B, K).

    w_j = (pi / K) q(m|a_j) / ((1 - pi) p_R(m) + (pi / K) sum_k q(m|a_k)), where p_R is the kernel
    estimate over the retained images.
    """
    count = len(bank.forget)
    log_forget = log_kernels(m, bank.forget, levels) + _log(bank.prior / count, m)
    log_retain = log_kernels(m, bank.retain, levels).logsumexp(1, keepdim=True)
    log_retain = log_retain + _log((1 - bank.prior) / len(bank.retain), m)
    return torch.cat([log_forget, log_retain], 1).softmax(1)[:, :count]


def subtract(mean: Tensor, shares: Tensor, forget: Tensor) -> Tensor:
    """D_R = (D - sum_j w_j a_j) / (1 - sum_j w_j): (B, ...), (B, K), (K, ...) -> (B, ...)."""
    with torch.autocast(mean.device.type, enabled=False):
        forgotten = (shares @ forget.flatten(1)).view_as(mean)
    left = (1 - shares.sum(1)).view((-1,) + (1,) * (mean.ndim - 1))
    return (mean - forgotten) / left


def _log(share: float, like: Tensor) -> Tensor:
    return torch.tensor(share, dtype=torch.float64).log().to(like)
