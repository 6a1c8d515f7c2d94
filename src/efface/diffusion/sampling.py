"""Drawing samples: sample i depends on seed i alone, whatever the batch size."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.schedule import NoiseSchedule, most_steps, with_levels_of
from efface.errors import ModelError

MOST_ENTRIES = 2**20  # of a batch in model space: 64 latents of Stable Diffusion 1.x, 16 of XL


def generators_from_seeds(seeds: Sequence[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


class Sampler(ABC):
    """Turns unit Gaussian noise into x0, (B, C, H, W) in model space."""

    @property
    @abstractmethod
    def passes(self) -> int:
        """Network passes per sample; a guided pass counts twice."""

    @abstractmethod
    def describe(self) -> str:
        """How the samples were generated, in words for a protocol."""

    @abstractmethod
    def draw(self, denoiser: Denoiser, noise: Tensor, condition: Condition | None) -> Tensor:
        """x0 from `noise`."""


@dataclass(frozen=True)
class OneStep(Sampler):
    """x0 predicted once, from `input_scale` times unit noise at timestep `t_init`."""

    t_init: int
    input_scale: float = 1.0

    @property
    def passes(self) -> int:
        return 1

    def describe(self) -> str:
        scale = "" if self.input_scale == 1.0 else f", input scale {self.input_scale:.4g}"
        return f"one step from timestep {self.t_init}{scale}"

    def draw(self, denoiser: Denoiser, noise: Tensor, condition: Condition | None) -> Tensor:
        t = torch.full((len(noise),), self.t_init, device=noise.device)
        return denoiser(self.input_scale * noise, t, condition).x0


@dataclass(frozen=True)
class MultiStep(Sampler):
    """The model's own scheduler configuration, run as DDIM.

    For flow matching a DDIM step is the Euler step of the stock scheduler, sigma_s alpha_t -
    alpha_s sigma_t being sigma_s - sigma_t.
    """

    steps: int = 50
    guidance: float = 1.0

    @classmethod
    def within(cls, denoiser: Denoiser, steps: int = 50, guidance: float = 1.0) -> "MultiStep":
        """At most `steps`: no more than a short schedule has timesteps."""
        if denoiser.kind != "flow":
            steps = min(steps, most_steps(denoiser.scheduler))
        return cls(steps, guidance)

    @property
    def passes(self) -> int:
        return self.steps if self.guidance == 1.0 else 2 * self.steps

    def describe(self) -> str:
        return f"{self.steps} DDIM steps, guidance {self.guidance:g}"

    def draw(self, denoiser: Denoiser, noise: Tensor, condition: Condition | None) -> Tensor:
        if denoiser.kind == "flow":
            return self._draw_flow(denoiser, noise, condition)
        most = most_steps(denoiser.scheduler)
        if self.steps > most:
            raise ModelError(
                f"{self.steps} steps were asked for, and the model's schedule has timesteps for "
                f"{most}: take at most as many."
            )
        scheduler = with_levels_of(denoiser.scheduler, DDIMScheduler)
        denoiser.set_timesteps(scheduler, self.steps)
        x_t = noise
        for timestep in scheduler.timesteps.tolist():
            t = torch.full((len(noise),), timestep, device=noise.device)
            output = denoiser(x_t, t, condition, self.guidance).output
            x_t = scheduler.step(output, timestep, x_t).prev_sample
        return x_t

    def _draw_flow(self, denoiser: Denoiser, noise: Tensor, condition: Condition | None) -> Tensor:
        """Euler steps at the noise levels of the stock scheduler, which lie between timesteps."""
        scheduler: Any = type(denoiser.scheduler).from_config(denoiser.scheduler.config)
        denoiser.set_timesteps(scheduler, self.steps)
        scheduler.set_begin_index(0)
        levels = scheduler.sigmas[:-1].flip(0).to(noise.device)
        denoiser = replace(denoiser, schedule=NoiseSchedule.from_flow_sigmas(levels))
        x_t = noise
        for row, timestep in zip(reversed(range(len(levels))), scheduler.timesteps, strict=True):
            t = torch.full((len(noise),), row, device=noise.device)
            output = denoiser(x_t, t, condition, self.guidance).output
            x_t = scheduler.step(output, timestep, x_t).prev_sample
        return x_t


def first_timestep(denoiser: Denoiser) -> int:
    """Where samplers begin: near the end of the schedule, with signal left to divide by."""
    return int(0.98 * denoiser.schedule.num_timesteps)


def denoise_to(
    end: Tensor, denoiser: Denoiser, noise: Tensor, condition: Condition | None, steps: int
) -> Tensor:
    """x_t at timesteps `end` (B,), in DDIM steps of equal strides from unit noise."""
    t = start = torch.full_like(end, first_timestep(denoiser))
    x_t = noise
    for step in range(1, steps + 1):
        prediction = denoiser(x_t, t, condition)
        t = start + (end - start) * step // steps
        alpha, sigma = denoiser.schedule.levels(t, x_t)
        x_t = alpha * prediction.x0 + sigma * prediction.eps
    return x_t


def rows_at_once(denoiser: Denoiser, wanted: int, weight: int = 1) -> int:
    """`wanted` rows, or as many as `MOST_ENTRIES` allow if each counts `weight`; one at least."""
    return rows_of(denoiser.sample_shape, wanted, weight)


def rows_of(shape: tuple[int, int, int], wanted: int, weight: int = 1) -> int:
    """The same, for samples of a shape (C, H, W)."""
    return max(1, min(wanted, MOST_ENTRIES // (weight * math.prod(shape))))


@torch.inference_mode()
def draw_from_noise(
    denoiser: Denoiser, sampler: Sampler, condition: Condition | None, noise: Tensor
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] on the CPU from unit noise, few at once of large samples.

    ModelError where they are not finite numbers.
    """
    denoiser.network.eval()
    images = []
    size = rows_at_once(denoiser, len(noise))
    for start in range(0, len(noise), size):
        some = slice(start, start + size)
        rows = None if condition is None else condition[some]
        x0 = sampler.draw(denoiser, noise[some].to(denoiser.device), rows)
        images.append(denoiser.codec.decode(x0).clamp(-1, 1).add(1).div(2).cpu())
        if not images[-1].isfinite().all():
            raise ModelError(
                f"{denoiser.source} generates images that are not finite numbers "
                f"({sampler.describe()}), so nothing is made of them: its weights are broken, or "
                "guidance is too high."
            )
    return torch.cat(images)


@torch.inference_mode()
def draw_images(
    denoiser: Denoiser,
    sampler: Sampler,
    condition: Condition | None,
    seeds: Sequence[int],
    batch_size: int = 250,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] on the CPU, image i from `seeds[i]`.

    A batch has `batch_size` rows, fewer of large samples; `on_batch` is told their number after
    each.
    """
    images = []
    batch_size = rows_at_once(denoiser, batch_size)
    for start in range(0, len(seeds), batch_size):
        generators = generators_from_seeds(seeds[start : start + batch_size])
        noise = torch.stack([torch.randn(denoiser.sample_shape, generator=g) for g in generators])
        rows = None if condition is None else condition[start : start + batch_size]
        images.append(draw_from_noise(denoiser, sampler, rows, noise))
        if on_batch is not None:
            on_batch(len(noise))
    return torch.cat(images)


def for_ancestral_steps(denoiser: Denoiser) -> Denoiser:
    """The same model with noise levels and a scheduler that `DDPMScheduler` takes.

    Flow matching becomes diffusion, row by row of the schedule. Samples are clipped only where the
    model's own scheduler says so.
    """
    if denoiser.kind == "flow":
        return _as_diffusion(denoiser)
    return replace(denoiser, scheduler=with_levels_of(denoiser.scheduler, DDPMScheduler))


@dataclass(frozen=True, eq=False, kw_only=True)
class _AsDiffusion(Denoiser):
    """A flow matching model as one of diffusion that predicts v.

    With c = (alpha^2 + sigma^2)^(1/2) of the flow's levels, x_t / c has the levels alpha / c and
    sigma / c, whose squares sum to 1. Their ratio is what it was, and so is what is known of x0.
    """

    flow: Denoiser

    def _output(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """V = alpha eps - sigma x0, both as the flow model has them at c x_t."""
        noise_share = self.schedule.sigmas / (self.schedule.alphas + self.schedule.sigmas)
        levels = NoiseSchedule.from_flow_sigmas(noise_share)
        flow = replace(self.flow, network=self.network, schedule=levels)
        alpha, sigma = self.schedule.levels(t, x_t)
        told = flow(x_t / (alpha + sigma), t, condition)  # 1 / c = alpha + sigma
        return alpha * told.eps - sigma * told.x0

    def encode(self, asked: Sequence[Any]) -> Condition | None:
        return self.flow.encode(asked)

    def null(self, like: Condition) -> Condition:
        return self.flow.null(like)

    def empty(self, like: Condition) -> Condition:
        return self.flow.empty(like)

    def require_null(self) -> Any:
        return self.flow.require_null()


def _as_diffusion(flow: Denoiser) -> _AsDiffusion:
    alphas, sigmas = flow.schedule.alphas.double(), flow.schedule.sigmas.double()
    c = (alphas.square() + sigmas.square()).sqrt()
    signal = (alphas / c).square()
    betas = 1 - signal / torch.cat([signal.new_ones(1), signal[:-1]])
    return _AsDiffusion(
        network=flow.network,
        schedule=NoiseSchedule((alphas / c).float(), (sigmas / c).float()),
        kind="v_prediction",
        sample_shape=flow.sample_shape,
        scheduler=DDPMScheduler(
            num_train_timesteps=len(betas),
            trained_betas=betas.tolist(),
            prediction_type="v_prediction",
            clip_sample=False,
        ),
        codec=flow.codec,
        flow=flow,
    )
