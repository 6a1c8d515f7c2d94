"""Models as the stock ancestral steps (`DDPMScheduler`) draw from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.schedule import NoiseSchedule, with_levels_of


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
