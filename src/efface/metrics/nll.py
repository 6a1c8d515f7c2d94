"""Negative log-likelihood by the probability-flow ODE, in bits per dimension.

The state goes along u with sigma = tanh u and alpha = 1 / cosh u, that is u = asinh(sigma / alpha).
There the flow (Song et al., 2021, eq. 13) is dx/du = eps - sigma x: no term grows without bound
at either end, as with alpha in a denominator where a network's error meets a weak signal. So

    log p(x) = log N(x_T; 0, I) + integral of div (eps - sigma x) over u,

from timestep 0 to the last. Steps are even in log-SNR, which resolves every scale alike.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Denoiser, IdentityCodec
from efface.diffusion.prediction import Prediction
from efface.diffusion.sampling import generators_from_seeds
from efface.errors import ModelError
from efface.progress import Bar

# Levels 0 to 255 lie 1 / 127.5 apart in [-1, 1], so a level has probability p(x) 127.5^-D, and
# -log2 of it over D is -log2 p(x) / D + log2 127.5 = ... + 6.994.
LEVEL_BITS = math.log2(127.5)


@dataclass(frozen=True, kw_only=True)
class LikelihoodSettings:
    """How a likelihood is computed: by Heun's method between timesteps of the model's own."""

    steps: int = 100  # of two network passes each, at most
    probes: int = 1  # Rademacher vectors of Hutchinson's estimate of the divergence
    dequantise: bool = False  # add uniform noise of one 8-bit level, centred


def nll(
    denoiser: Denoiser,
    images: Tensor,
    settings: LikelihoodSettings,
    seed: int = 0,
    batch_size: int = 64,
    quiet: bool = False,
) -> np.ndarray:
    """Bits per dimension (N,) of images (N, C, H, W) in [-1, 1] under an unconditional pixel model.

    If dequantised, on average an upper bound of the bits of the 8-bit images; else the density at
    the images, which no bound holds for: a memorised image can come out below 0. Random numbers
    depend on (seed, row): other models see the same. Timestep 0 stands for the data.
    """
    if not isinstance(denoiser.codec, IdentityCodec):
        raise ModelError("bits per dimension are those of pixels: this model works on latents.")
    denoiser.network.eval()
    bits = []
    with Bar("likelihood", len(images), unit="images", hidden=quiet) as bar:
        for start in range(0, len(images), batch_size):
            x = images[start : start + batch_size].to(denoiser.device, torch.float32).clone()
            rows = range(start, start + len(x))
            dequantise, probes = (
                generators_from_seeds([derive_seed(seed, purpose, row) for row in rows])
                for purpose in ("dequantise", "probes")
            )
            if settings.dequantise:
                x += (_uniform(x, dequantise) - 0.5) / 127.5
            signs = [_uniform(x, probes) < 0.5 for _ in range(settings.probes)]
            vectors = torch.stack(signs).to(x.dtype) * 2 - 1
            log_density = _log_density(denoiser, x, vectors, settings.steps)
            bits.append(-log_density / (math.log(2) * x[0].numel()) + LEVEL_BITS)
            bar.advance(len(x))
    return np.concatenate(bits)


def _log_density(denoiser: Denoiser, x: Tensor, vectors: Tensor, steps: int) -> np.ndarray:
    """(B,) of x, by Heun's method; vectors e (V, B, C, H, W) for the mean of e^T J e."""
    gain = np.zeros(len(x))
    nodes = _nodes(denoiser, steps)
    for (u, t), (u_there, t_there) in zip(nodes[:-1], nodes[1:], strict=True):
        step = u_there - u
        slope, divergence = _flow(denoiser, x, u, t, vectors)
        slope_there, divergence_there = _flow(denoiser, x + step * slope, u_there, t_there, vectors)
        x = x + step / 2 * (slope + slope_there)
        gain += step / 2 * (divergence + divergence_there)
    return gain + _log_normal(x)


def _nodes(denoiser: Denoiser, steps: int) -> list[tuple[float, int]]:
    """(u, timestep) from 0 to the last that has signal, as evenly in log-SNR as timesteps allow."""
    ratios = denoiser.schedule.noise_to_signal.cpu().numpy()
    ratios = ratios[np.isfinite(ratios)]
    even = np.geomspace(ratios[0], ratios[-1], steps + 1)
    timestep = PchipInterpolator(np.log(ratios), np.arange(len(ratios)))
    timesteps = timestep(np.log(even.clip(ratios[0], ratios[-1]))).round()
    return [(float(np.arcsinh(ratios[t])), int(t)) for t in np.unique(timesteps.astype(int))]


def _flow(
    denoiser: Denoiser, x: Tensor, u: float, timestep: int, vectors: Tensor
) -> tuple[Tensor, np.ndarray]:
    """dx/du (B, C, H, W) and its divergence (B,) in float64."""
    alpha, sigma = torch.tensor([1 / math.cosh(u), math.tanh(u)], device=x.device)
    t = torch.full((len(x),), timestep, device=x.device)
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        output = denoiser(x, t).output
        slope = Prediction.from_output(output, x, (alpha, sigma), denoiser.kind).eps - sigma * x
        divergence = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for e in vectors:
            product = torch.autograd.grad(slope, x, e, retain_graph=True)[0]
            divergence += (product.double() * e).flatten(1).sum(1) / len(vectors)
    return slope.detach(), divergence.cpu().numpy()


def _log_normal(x: Tensor) -> np.ndarray:
    """Log N(x; 0, I), (B, ...) -> (B,)."""
    squares = x.double().square().flatten(1)
    return (-0.5 * (squares + math.log(2 * math.pi)).sum(1)).cpu().numpy()


def _uniform(like: Tensor, generators: list[torch.Generator]) -> Tensor:
    rows = [torch.rand(like.shape[1:], generator=g) for g in generators]
    return torch.stack(rows).to(like.device)
