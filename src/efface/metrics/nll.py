"""Negative log-likelihood by the probability-flow ODE, in bits per dimension.

The state goes along u with sigma = tanh u and alpha = 1 / cosh u, that is u = asinh(sigma / alpha).
There the flow (Song et al., 2021, eq. 13) is dx/du = eps - sigma x: no term grows without bound
at either end, as with alpha in a denominator where a network's error meets a weak signal. So

    log p(x) = log N(x_T; 0, I) + integral of div (eps - sigma x) over u,

from timestep 0 to the last. Steps are even in log-SNR, which resolves every scale alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from efface.data.randomness import derive_seed
from efface.diffusion.codec import IdentityCodec
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.prediction import Prediction
from efface.diffusion.sampling import generators_from_seeds
from efface.errors import ModelError, RunError
from efface.progress import Bar

# Levels 0 to 255 lie 1 / 127.5 apart in [-1, 1], so a level has probability p(x) 127.5^-D, and
# -log2 of it over D is -log2 p(x) / D + log2 127.5 = ... + 6.994.
LEVEL_BITS = math.log2(127.5)


@dataclass(frozen=True, kw_only=True)
class LikelihoodSettings:
    """How a likelihood is computed.

    `heun` takes up to `steps` fixed steps of two network passes; without `fractional` they are
    between timesteps of the model's own. `rk45` adapts to `rtol` and `atol`; without `fractional`
    the network sees the nearest timestep, and a small tolerance costs more for the jumps between.
    """

    solver: Literal["heun", "rk45"] = "heun"
    steps: int = 100
    rtol: float = 1e-5
    atol: float = 1e-5
    fractional: bool = False  # give the network timesteps between integers (UNet2DModel can)
    probes: int = 1  # Rademacher vectors of Hutchinson's estimate of the divergence
    exact: bool = False  # the whole trace instead: one backward pass per dimension
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
            flow = _Flow(denoiser, settings, _make_vectors(x, probes, settings))
            solve = _heun if settings.solver == "heun" else _rk45
            log_density = solve(flow, x, settings)
            bits.append(-log_density / (math.log(2) * x[0].numel()) + LEVEL_BITS)
            bar.advance(len(x))
    return np.concatenate(bits)


class _Flow:
    """dx/du and its divergence anywhere between timestep 0 and the last that has signal."""

    def __init__(self, denoiser: Denoiser, settings: LikelihoodSettings, vectors: Tensor) -> None:
        self._denoiser = denoiser
        self._fractional = settings.fractional
        self._exact = settings.exact
        self._vectors = vectors
        ratio = denoiser.schedule.noise_to_signal.cpu().numpy()
        ratio = ratio[np.isfinite(ratio)]
        self.u = np.arcsinh(ratio)
        self._timestep = PchipInterpolator(np.log(ratio), np.arange(len(ratio)))

    def timesteps(self, u: np.ndarray) -> np.ndarray:
        """The timesteps of u, by monotone interpolation over log-SNR."""
        return self._timestep(np.log(np.sinh(u)))

    def nodes(self, steps: int) -> list[tuple[float, float]]:
        """(u, timestep), even in log-SNR; at whole timesteps unless fractional."""
        first, last = self.u[0], self.u[-1]
        ratios = np.geomspace(np.sinh(first), np.sinh(last), steps + 1)
        u = np.arcsinh(ratios).clip(first, last)
        timesteps = self.timesteps(u)
        if not self._fractional:
            timesteps = np.unique(timesteps.round())
            u = self.u[timesteps.astype(int)]
        return list(zip(u.tolist(), timesteps.tolist(), strict=True))

    def __call__(self, x: Tensor, u: float, timestep: float) -> tuple[Tensor, np.ndarray]:
        """dx/du (B, C, H, W) and its divergence (B,) in float64."""
        alpha, sigma = torch.tensor([1 / math.cosh(u), math.tanh(u)], device=x.device)
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            output = self._output(x, timestep)
            kind = self._denoiser.kind
            slope = Prediction.from_output(output, x, (alpha, sigma), kind).eps - sigma * x
            total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
            for e in self._vectors:
                product = torch.autograd.grad(slope, x, e, retain_graph=True)[0]
                total += (product.double() * e).flatten(1).sum(1)
        divergence = total if self._exact else total / len(self._vectors)
        return slope.detach(), divergence.cpu().numpy()

    def _output(self, x: Tensor, timestep: float) -> Tensor:
        if not self._fractional:
            t = torch.full((len(x),), round(timestep), device=x.device)
            return self._denoiser(x, t).output
        t = torch.full((len(x),), timestep, device=x.device)
        return self._denoiser.network(x, t, return_dict=False)[0][:, : x.shape[1]]


def _make_vectors(
    x: Tensor, generators: list[torch.Generator], settings: LikelihoodSettings
) -> Tensor:
    """Vectors e (V, B, C, H, W) for the sum or the mean of e^T J e."""
    if settings.exact:
        unit = torch.eye(x[0].numel(), device=x.device).view(-1, 1, *x.shape[1:])
        return unit.expand(-1, len(x), *x.shape[1:])
    signs = [_uniform(x, generators) < 0.5 for _ in range(settings.probes)]
    return torch.stack(signs).to(x.dtype) * 2 - 1


def _heun(flow: _Flow, x: Tensor, settings: LikelihoodSettings) -> np.ndarray:
    """Log-density (B,) by Heun's method."""
    gain = np.zeros(len(x))
    nodes = flow.nodes(settings.steps)
    for here, there in zip(nodes[:-1], nodes[1:], strict=True):
        step = there[0] - here[0]
        slope, divergence = flow(x, *here)
        slope_there, divergence_there = flow(x + step * slope, *there)
        x = x + step / 2 * (slope + slope_there)
        gain += step / 2 * (divergence + divergence_there)
    return gain + _log_normal(x)


def _rk45(flow: _Flow, x: Tensor, settings: LikelihoodSettings) -> np.ndarray:
    """Log-density (B,) by scipy's adaptive Runge-Kutta method on the whole batch as one state."""

    def derivative(u: float, state: np.ndarray) -> np.ndarray:
        now = torch.from_numpy(state[: x.numel()]).to(x.device, x.dtype).view_as(x)
        slope, divergence = flow(now, u, float(flow.timesteps(np.array(u))))
        return np.concatenate([slope.double().cpu().numpy().ravel(), divergence])

    start = np.concatenate([x.double().cpu().numpy().ravel(), np.zeros(len(x))])
    span = (flow.u[0], flow.u[-1])
    result = solve_ivp(derivative, span, start, "RK45", rtol=settings.rtol, atol=settings.atol)
    if not result.success:
        raise RunError(f"the likelihood's ODE was not solved ({result.message}): loosen rtol.")
    end = result.y[:, -1]
    return end[x.numel() :] + _log_normal(torch.from_numpy(end[: x.numel()]).view_as(x))


def _log_normal(x: Tensor) -> np.ndarray:
    """Log N(x; 0, I), (B, ...) -> (B,)."""
    squares = x.double().square().flatten(1)
    return (-0.5 * (squares + math.log(2 * math.pi)).sum(1)).cpu().numpy()


def _uniform(like: Tensor, generators: list[torch.Generator]) -> Tensor:
    rows = [torch.rand(like.shape[1:], generator=g) for g in generators]
    return torch.stack(rows).to(like.device)
