"""Flow matching seen as diffusion, and latents left unclipped, for stock ancestral steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import diffusers
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import for_ancestral_steps
from efface.diffusion.schedule import NoiseSchedule
from efface.diffusion.text.denoiser import TextDenoiser
from efface.metrics.copy_similarity import denoise_back

Make = Callable[..., Denoiser]
MEAN, STD = 2.0, 0.5


class Gaussian(nn.Module):
    """The exact flow network of pictures whose pixels are N(MEAN, STD^2)."""

    def __init__(self, levels: NoiseSchedule) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x_t: Tensor, t: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        del return_dict
        alpha, sigma = self.levels.levels(t, x_t)
        surely = alpha.square() * STD**2 + sigma.square()
        x0 = MEAN + alpha * STD**2 / surely * (x_t - alpha * MEAN)
        return ((x_t - alpha * x0) / sigma - x0,)


def gaussian(tiny_unet: Make) -> Denoiser:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    schedule = NoiseSchedule.from_flow_scheduler(scheduler)
    return dataclasses.replace(
        tiny_unet(conditional=False),
        network=Gaussian(schedule),
        schedule=schedule,
        scheduler=scheduler,
        kind="flow",
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_a_flow_model_says_the_same_of_x0_and_eps_as_one_of_diffusion(
    text_model: Callable[..., TextDenoiser], kind: str
) -> None:
    flow = text_model(kind)
    diffusion = for_ancestral_steps(flow)
    levels = diffusion.schedule
    assert_close(levels.alphas.square() + levels.sigmas.square(), torch.ones(1000))
    ratios = levels.noise_to_signal[:-1] / flow.schedule.noise_to_signal[:-1]
    assert_close(ratios, torch.ones_like(ratios), rtol=2e-6, atol=0)
    x0, eps = torch.randn(2, 3, *flow.sample_shape, generator=torch.Generator().manual_seed(0))
    t, asked = torch.tensor([3, 500, 970]), flow.encode(["a cat", "a bag", "a coat"])
    one = flow(flow.schedule.add_noise(x0, eps, t), t, asked, 2.0)
    other = diffusion(levels.add_noise(x0, eps, t), t, asked, 2.0)
    assert_close(other.x0, one.x0, rtol=0, atol=2e-4)
    assert_close(other.eps, one.eps, rtol=0, atol=2e-4)
    moved = diffusion.with_network(diffusion.clone().network)
    assert_close(moved(x0, t, asked).output, diffusion(x0, t, asked).output)


def test_the_stock_scheduler_has_the_levels_of_the_flow(tiny_unet: Make) -> None:
    diffusion = for_ancestral_steps(gaussian(tiny_unet))
    stock = NoiseSchedule.from_scheduler(diffusion.scheduler)
    assert_close(stock.alphas, diffusion.schedule.alphas, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("given", [0.1, 0.5, 0.9])
def test_noised_pictures_come_back_with_the_spread_that_the_flow_model_knows(
    tiny_unet: Make, given: float
) -> None:
    """Of pixels N(2, 1/4): whatever is given of them, mean and deviation are theirs."""
    flow = gaussian(tiny_unet)
    x0 = MEAN + STD * torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    t = int((1 - given) * flow.schedule.num_timesteps)
    back = denoise_back(flow, x0, t, 2, 0, steps=200)
    assert abs(float(back.mean()) - MEAN) < 0.03
    assert abs(float(back.std()) - STD) < 0.03
    # What is given is kept: of a Gaussian, alpha^2 STD^2 / (alpha^2 STD^2 + sigma^2) of it.
    alpha, sigma = flow.schedule.alphas[t] * STD, flow.schedule.sigmas[t]
    correlation = torch.corrcoef(torch.stack([x0.flatten(), back[:, 0].flatten()]))[0, 1]
    assert abs(float(correlation - alpha**2 / (alpha**2 + sigma**2))) < 0.05


def test_latents_are_clipped_only_where_their_scheduler_says_so(
    text_model: Callable[..., TextDenoiser], tiny_unet: Make
) -> None:
    latent, pixels = text_model("pixart_sigma"), tiny_unet(conditional=False)
    solver = diffusers.DPMSolverMultistepScheduler.from_config(latent.scheduler.config)
    bare = {k: v for k, v in solver.config.items() if k != "clip_sample"}
    silent = dataclasses.replace(
        latent, scheduler=diffusers.DPMSolverMultistepScheduler.from_config(bare)
    )
    assert diffusers.DDPMScheduler.from_config(silent.scheduler.config).config["clip_sample"]
    assert not for_ancestral_steps(silent).scheduler.config.clip_sample
    assert not for_ancestral_steps(latent).scheduler.config.clip_sample
    assert for_ancestral_steps(pixels).scheduler.config.clip_sample
