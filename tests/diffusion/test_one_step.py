"""One-step generators are told from other models, and driven by a scheduler cut short."""

from __future__ import annotations

import diffusers
import pytest
from torch.testing import assert_close

from efface.diffusion.loading import build_denoiser, load, save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler, is_one_step, one_step_scheduler
from efface.diffusion.sampling import MultiStep, OneStep


def test_multi_step_models_are_not_taken_for_one_step_generators(tiny_unet, tmp_path):
    denoiser = tiny_unet()
    save_pipeline(denoiser, tmp_path / "model", MultiStep(50))
    info = inspect_model(tmp_path / "model")
    assert not is_one_step(info)
    assert default_sampler(info, load(info), guidance=3.0) == MultiStep(50, guidance=3.0)


def test_a_short_schedule_of_its_own_is_no_one_step_generator(tiny_unet, tmp_path):
    """Twenty betas that end far from pure noise, where a cut schedule ends too."""
    betas = diffusers.DDIMScheduler(num_train_timesteps=20).betas.tolist()
    own = diffusers.DDIMScheduler(20, trained_betas=betas, timestep_spacing="trailing")
    save_pipeline(build_denoiser(tiny_unet().network, own, 10, 10), tmp_path / "model")
    info = inspect_model(tmp_path / "model")
    assert default_sampler(info, load(info)) == MultiStep(20)


def test_an_unconditional_one_step_generator_is_known_again(tiny_unet, tmp_path):
    save_pipeline(tiny_unet(conditional=False), tmp_path / "model", OneStep(440, 0.9))
    info = inspect_model(tmp_path / "model")
    assert is_one_step(info)
    assert default_sampler(info, load(info)) == OneStep(440, 0.9)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_the_cut_schedule_is_the_beginning_of_the_whole_one(tiny_unet, schedule):
    denoiser = tiny_unet(schedule=schedule)
    cut = one_step_scheduler(denoiser, 440)
    assert_close(cut.alphas_cumprod, denoiser.scheduler.alphas_cumprod[:441], rtol=0, atol=0)
    cut.set_timesteps(1)
    assert cut.timesteps.tolist() == [440]


@pytest.mark.parametrize("t_init", [100, 713])
def test_the_cut_flow_schedule_begins_at_the_level_of_its_timestep(text_model, t_init):
    denoiser = text_model("sd3")
    cut = one_step_scheduler(denoiser, t_init)
    cut.set_timesteps(1)
    assert float(cut.sigmas[0]) == pytest.approx(float(denoiser.schedule.sigmas[t_init]))
