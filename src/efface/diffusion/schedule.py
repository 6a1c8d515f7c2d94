"""The noise schedule: x_t = alpha_t x0 + sigma_t eps."""

import copy
import functools
import json
import warnings
import weakref
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from efface.diffusion.prediction import PREDICTION_KINDS
from efface.diffusion.quiet import loading, quiet
from efface.diffusion.scheduler_files import (
    KNOWN_SCHEDULERS,
    check_scheduler,
    read_scheduler_config,
)
from efface.diffusion.text.folder import FLOW_SCHEDULERS
from efface.errors import ModelError

TRIED = 5  # steps that a scheduler takes before it is used
# By scheduler and class: the configuration read, and what `with_levels_of` made of it.
_MADE: weakref.WeakKeyDictionary[Any, dict[Any, tuple[Any, Any]]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Signal levels `alphas` and noise levels `sigmas`, both (T,) float32, by integer timestep."""

    alphas: Tensor
    sigmas: Tensor

    @classmethod
    def from_scheduler(cls, scheduler: Any) -> "NoiseSchedule":
        """Read the schedule of a diffusers scheduler; ModelError for a kind that is not known."""
        check_scheduler(type(scheduler).__name__)
        # From the betas: with zero terminal SNR some classes leave 2**-24 in the place of 0.
        alphas_cumprod = (1.0 - scheduler.betas).cumprod(0).double()
        return cls(alphas_cumprod.sqrt().float(), (1 - alphas_cumprod).sqrt().float())

    @classmethod
    def from_flow_scheduler(cls, scheduler: Any) -> "NoiseSchedule":
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
    def from_flow_sigmas(cls, sigmas: Tensor) -> "NoiseSchedule":
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

    def to(self, device: torch.device | str) -> "NoiseSchedule":
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
    name, config = type(scheduler).__name__, scheduler.config
    if name in FLOW_SCHEDULERS:
        kind, schedule = "flow", NoiseSchedule.from_flow_scheduler(scheduler)
    else:
        kind, schedule = config.prediction_type, NoiseSchedule.from_scheduler(scheduler)
    if kind not in PREDICTION_KINDS:
        raise ModelError(
            f"prediction type {kind!r} is unknown: allowed are {', '.join(PREDICTION_KINDS)}."
        )
    whole = kind == "flow" or schedule.num_timesteps == config.num_train_timesteps
    rising = (schedule.noise_to_signal.diff() > 0).all() and schedule.sigmas[0] > 0
    if not (whole and rising and schedule.alphas[-1] >= 0):
        raise ModelError(
            f"the {schedule.num_timesteps} noise levels of the {name} do not form a schedule: "
            f"{config.num_train_timesteps} betas (num_train_timesteps) between 0 and 1 are needed, "
            "of which only the last can be 1."
        )
    if schedule.has_zero_terminal_snr and kind == "epsilon":
        raise ModelError(
            f"the {name} ends without signal (zero terminal SNR), where nothing can be read from "
            "an epsilon prediction: use a model that predicts v or the sample."
        )
    return kind, schedule


def load_scheduler(
    place: Path,
    name: str | None,
    known: Collection[str] = (*KNOWN_SCHEDULERS, *FLOW_SCHEDULERS),
) -> Any:
    """The scheduler in the folder `place`, of the class that model_index.json names.

    It has taken a few steps, and so has DDIM with its levels: what loads also draws. Raises
    ModelError.
    """
    check_scheduler(name, known)
    kind = getattr(diffusers, str(name))
    config = read_scheduler_config(place / "scheduler_config.json", kind, known)
    # diffusers warns of the `sigma_max` of a one-step generator.
    with loading(place), quiet("diffusers"), warnings.catch_warnings(action="ignore"):
        _require_steps(kind, json.dumps(config))
        return kind.from_config(config)


@functools.lru_cache(maxsize=64)
def _require_steps(kind: Any, config: str) -> None:
    """Try out what a configuration makes, once; and DDIM with its levels, but for flow matching."""
    scheduler = kind.from_config(json.loads(config))
    flow = read_schedule(scheduler)[0] == "flow"
    tried = [scheduler] if flow else [scheduler, with_levels_of(scheduler, diffusers.DDIMScheduler)]
    with torch.random.fork_rng(devices=[]):
        for stock in tried:
            _try_out(stock)


def _try_out(scheduler: Any) -> None:
    """Take a few steps as a pipeline does; ModelError, or an error of diffusers, where it fails."""
    config = scheduler.config
    options = {"mu": 1.0} if config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(max(1, min(TRIED, most_steps(scheduler))), **options)
    learned = str(config.get("variance_type")).startswith("learned")
    x_t, output = torch.ones(1, 3, 1, 1), torch.ones(1, 6 if learned else 3, 1, 1)
    for t in scheduler.timesteps:
        x_t = scheduler.step(output, t, x_t).prev_sample
    if not x_t.isfinite().all():
        raise ModelError(f"the {type(scheduler).__name__} makes samples that are not finite.")


def most_steps(scheduler: Any) -> int:
    """As many steps as a scheduler can take: one for each timestep that its spacing reaches."""
    config = scheduler.config
    skipped = config.steps_offset if config.get("timestep_spacing") == "leading" else 0
    return config.num_train_timesteps - skipped


def with_levels_of(scheduler: Any, kind: Any) -> Any:
    """A DDIMScheduler or DDPMScheduler with the noise levels and settings of any other class.

    The others clip nothing and begin at the last timestep. A variance that the network learned is
    no part of a Denoiser's output: steps take the fixed one.
    """
    # A configuration of a thousand levels takes diffusers as long as a pass of a small network.
    made = _MADE.setdefault(scheduler, {})
    source, derived = made.get(kind, (None, None))
    if source is not scheduler.config:
        made[kind] = scheduler.config, (derived := _derive(scheduler, kind))
    return copy.copy(derived)


def _derive(scheduler: Any, kind: Any) -> Any:
    own = {k: v for k, v in scheduler.config.items() if k != "_use_default_values"}
    last = own.get("final_sigmas_type") == "sigma_min"
    config = {"clip_sample": False, "set_alpha_to_one": not last, "timestep_spacing": "linspace"}
    config |= own
    if not str(own.get("variance_type")).startswith("fixed"):
        config["variance_type"] = "fixed_small"
    levels = {"trained_betas": scheduler.betas.tolist(), "rescale_betas_zero_snr": False}
    with quiet("diffusers"):
        return kind.from_config(config | levels)
