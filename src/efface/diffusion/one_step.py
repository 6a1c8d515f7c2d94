"""One-step generators: how they are told from other models, and the schedulers that drive them."""

from typing import Any

import diffusers

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.sampling import MultiStep, OneStep, Sampler


def default_sampler(info: ModelInfo, denoiser: Denoiser, guidance: float = 1.0) -> Sampler:
    """One step for a one-step generator, otherwise 50 DDIM steps."""
    if is_one_step(info):
        return OneStep(denoiser.schedule.num_timesteps - 1, info.input_scale)
    return MultiStep.within(denoiser, info.default_steps, guidance)


def is_one_step(info: ModelInfo) -> bool:
    """Whether a model is a one-step generator, as efface writes into its model_index.json."""
    return info.default_steps == 1


def one_step_scheduler(denoiser: Denoiser, t_init: int) -> Any:
    """The stock scheduler whose single step is x0 predicted at `t_init`."""
    if denoiser.kind == "flow":
        return _one_step_flow_scheduler(denoiser, t_init)
    return diffusers.DDIMScheduler(
        num_train_timesteps=t_init + 1,
        trained_betas=denoiser.scheduler.betas[: t_init + 1].tolist(),
        timestep_spacing="trailing",
        prediction_type=denoiser.kind,
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # of no effect here, and what the stock text pipelines insist on
    )


def _one_step_flow_scheduler(denoiser: Denoiser, t_init: int) -> Any:
    """The stock Euler scheduler, made to begin at sigma_t instead of at pure noise.

    Its exponential spacing runs from `sigma_max` to `sigma_min` of the configuration, whatever
    levels and shift the pipeline hands it.
    """
    scheduler = type(denoiser.scheduler).from_config(
        denoiser.scheduler.config,
        use_exponential_sigmas=True,
        use_karras_sigmas=False,
        use_beta_sigmas=False,
        shift_terminal=None,
    )
    sigmas = denoiser.schedule.sigmas
    # Not among the constructor's arguments, but read from the configuration.
    scheduler.register_to_config(sigma_max=float(sigmas[t_init]), sigma_min=float(sigmas[0]))
    return scheduler
