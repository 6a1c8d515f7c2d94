"""The noise schedule: x_t = alpha_t x0 + sigma_t eps."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from efface.diffusion.model_folder import check_scheduler
from efface.diffusion.prediction import PREDICTION_KINDS
from efface.diffusion.quiet import quiet
from efface.diffusion.text.folder import FLOW_SCHEDULERS
from efface.errors import ModelError


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Signal levels `alphas` and noise levels `sigmas`, both (T,) float32, by integer timestep."""

    alphas: Tensor
    sigmas: Tensor

    @classmethod
    def from_scheduler(cls, scheduler: Any) -> NoiseSchedule:
        """Read the schedule of a diffusers scheduler; ModelError for a kind that is not known."""
        check_scheduler(type(scheduler).__name__)
        alphas_cumprod = scheduler.alphas_cumprod.double()
        return cls(alphas_cumprod.sqrt().float(), (1 - alphas_cumprod).sqrt().float())

    @classmethod
    def from_flow_scheduler(cls, scheduler: Any) -> NoiseSchedule:
        """The table of a FlowMatchEulerDiscreteScheduler: alpha = 1 - sigma, rising noise.

        Holds the scheduler's own shift, but not one that depends on the size of the image: such
        a model was trained on all noise levels. The table of a one-step generator ends at its
        start (`sigma_max`).
        """
        # A scheduler that was used holds the levels of its last run.
        with quiet("diffusers"):
            sigmas = type(scheduler).from_config(scheduler.config).sigmas.flip(0)
        if scheduler.config.get("use_exponential_sigmas"):
            sigmas = sigmas[sigmas <= scheduler.config.get("sigma_max", 1.0) + 1e-7]
        return cls.from_flow_sigmas(sigmas)

    @classmethod
    def from_flow_sigmas(cls, sigmas: Tensor) -> NoiseSchedule:
        """A schedule of flow matching with noise levels `sigmas`, (T,)."""
        return cls(1 - sigmas.float(), sigmas.float())

    @property
    def num_timesteps(self) -> int:
        return len(self.alphas)

    @functools.cached_property
    def has_zero_terminal_snr(self) -> bool:
        """Whether the last timestep is pure noise, so that eps says nothing about x0 there."""
        return bool(self.alphas[-1] == 0)  # read once: on a GPU it waits for all that was queued

    @property
    def noise_to_signal(self) -> Tensor:
        """sigma_t / alpha_t, (T,): what EDM and the papers call the noise level; may end in inf."""
        return self.sigmas.double() / self.alphas.double()

    def to(self, device: torch.device | str) -> NoiseSchedule:
        return NoiseSchedule(self.alphas.to(device), self.sigmas.to(device))

    def levels(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t) for timesteps (B,), shaped to broadcast over `like` (B, ...)."""
        shape = (-1,) + (1,) * (like.ndim - 1)
        return self.alphas[t].view(shape), self.sigmas[t].view(shape)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha_t x0 + sigma_t eps; x0 and eps (B, ...), t (B,)."""
        alpha, sigma = self.levels(t, x0)
        return alpha * x0 + sigma * eps

    def timestep_from_noise_to_signal(self, ratio: float) -> int:
        """The timestep whose sigma_t / alpha_t is nearest to `ratio` on a logarithmic scale."""
        log_ratio = self.noise_to_signal.clamp_min(1e-12).log()
        return int((log_ratio - torch.tensor(ratio, dtype=torch.float64).log()).abs().argmin())


def read_schedule(scheduler: Any) -> tuple[Any, NoiseSchedule]:
    """Kind of prediction and noise levels of a diffusers scheduler; ModelError for unknown ones."""
    if type(scheduler).__name__ in FLOW_SCHEDULERS:
        return "flow", NoiseSchedule.from_flow_scheduler(scheduler)
    kind = scheduler.config.prediction_type
    if kind not in PREDICTION_KINDS:
        raise ModelError(
            f"prediction type {kind!r} is unknown: allowed are {', '.join(PREDICTION_KINDS)}."
        )
    return kind, NoiseSchedule.from_scheduler(scheduler)
