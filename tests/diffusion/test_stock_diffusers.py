"""Saved folders in a process where efface cannot be imported: stock diffusers does the same."""

from __future__ import annotations

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from efface.diffusion.denoiser import ClassDenoiser, Denoiser
from efface.diffusion.loading import build_denoiser, save_pipeline
from efface.diffusion.sampling import MultiStep, OneStep, Sampler, draw_images
from tests.tiny import pixel_transformer

SEEDS, LABELS = [11, 12, 13], [3, 7, 9]
START = 440

STOCK = """
import sys, diffusers, torch
from safetensors.torch import load_file, save_file

root = sys.argv[1]
given = load_file(f"{root}/given.safetensors")
seeds, labels, latents = given["seeds"].tolist(), given["labels"].tolist(), given["latents"]
images = {}


def stock(name, **kwargs):
    pipe = diffusers.DiffusionPipeline.from_pretrained(f"{root}/{name}", **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generators():
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def channels_first(array):
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


for name in ("epsilon", "sample", "v_prediction", "scaled", "transformer", "variance"):
    pipe = stock(name, trust_remote_code=True)
    images[name] = pipe(labels, latents=latents, output_type="pt").images

images["generators"] = pipe(labels, generator=generators(), output_type="pt").images
pictures = pipe(labels, latents=latents).images
images["pictures"] = torch.tensor([[size for size in (p.width, p.height)] for p in pictures])

for name in ("epsilon", "v_prediction"):  # the single step, without any pipeline
    unet = diffusers.UNet2DModel.from_pretrained(f"{root}/{name}", subfolder="unet")
    scheduler = diffusers.DDIMScheduler.from_pretrained(f"{root}/{name}", subfolder="scheduler")
    scheduler.set_timesteps(1)
    (t,) = scheduler.timesteps
    with torch.no_grad():
        output = unet(latents, t, class_labels=torch.tensor(labels)).sample
    sample = scheduler.step(output, t, latents).prev_sample
    images[f"{name}_by_hand"] = (sample / 2 + 0.5).clamp(0, 1)

pipe = stock("many_steps", trust_remote_code=True)
for guidance in (1, 3):
    images[f"many_steps_{guidance}"] = pipe(
        labels, guidance_scale=guidance, num_inference_steps=4, latents=latents, output_type="pt"
    ).images

pipe = stock("latent")
assert type(pipe) is diffusers.DiTPipeline
once = {"guidance_scale": 1.0, "num_inference_steps": 1}
images["latent"] = channels_first(
    pipe(labels, **once, generator=generators(), output_type="np").images
)

pipe = stock("unconditional")
assert type(pipe) is diffusers.DDIMPipeline
images["unconditional"] = channels_first(
    pipe(batch_size=3, generator=generators(), num_inference_steps=5, output_type="np").images
)

pipe = stock("ancestral", trust_remote_code=True)
images["ancestral"] = pipe(
    labels, num_inference_steps=4, generator=generators(), output_type="pt"
).images

assert "efface.diffusion" not in sys.modules
save_file({k: v.contiguous() for k, v in images.items()}, f"{root}/images.safetensors")
"""


def unet_with_variance() -> Denoiser:
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=["DownBlock2D"] * 2,
        up_block_types=["UpBlock2D"] * 2,
        norm_num_groups=4,
        num_class_embeds=11,
    )
    return build_denoiser(network.eval(), diffusers.DDIMScheduler(), 10, 10)


@pytest.fixture(scope="module")
def models(tiny_unet, tiny_dit) -> dict[str, tuple[Denoiser, Sampler]]:
    """What is saved, and how efface draws from it."""
    kinds = ("epsilon", "sample", "v_prediction")
    ancestral = tiny_unet(prediction="sample")
    ddpm = diffusers.DDPMScheduler.from_config(ancestral.scheduler.config, clip_sample=False)
    return {kind: (tiny_unet(prediction=kind), OneStep(START)) for kind in kinds} | {
        "scaled": (tiny_unet(), OneStep(START, 0.9286)),
        "transformer": (pixel_transformer(), OneStep(START)),
        "variance": (unet_with_variance(), OneStep(START)),
        "many_steps": (tiny_unet(prediction="v_prediction"), MultiStep(4)),
        "latent": (tiny_dit(), OneStep(START)),
        "unconditional": (tiny_unet(conditional=False), MultiStep(5)),
        "ancestral": (build_denoiser(ancestral.network, ddpm, 10, 10), MultiStep(4)),
    }


@pytest.fixture(scope="module")
def stock_images(models, without_efface, tmp_path_factory) -> dict[str, Tensor]:
    root = tmp_path_factory.mktemp("stock")
    for name, (denoiser, sampler) in models.items():
        save_pipeline(denoiser, root / name, sampler)
    latents = torch.stack(
        [torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(s)) for s in SEEDS]
    )
    given = {"seeds": torch.tensor(SEEDS), "labels": torch.tensor(LABELS), "latents": latents}
    save_file(given, root / "given.safetensors")
    without_efface(STOCK, root)
    return load_file(root / "images.safetensors")


def draw(models: dict[str, tuple[Denoiser, Sampler]], name: str) -> Tensor:
    denoiser, sampler = models[name]
    condition = denoiser.encode(LABELS) if isinstance(denoiser, ClassDenoiser) else None
    return draw_images(denoiser, sampler, condition, SEEDS)


@pytest.mark.parametrize(
    "name", ["epsilon", "sample", "v_prediction", "scaled", "transformer", "variance"]
)
def test_the_saved_pipeline_draws_the_generators_images(models, stock_images, name):
    assert_close(stock_images[name], draw(models, name), rtol=0, atol=1e-6)


def test_the_saved_pipeline_draws_from_generators_as_from_latents(stock_images):
    assert_close(stock_images["generators"], stock_images["variance"], rtol=0, atol=1e-6)
    assert stock_images["pictures"].tolist() == [[8, 8]] * 3


@pytest.mark.parametrize("name", ["epsilon", "v_prediction"])
def test_one_step_of_the_stock_scheduler_draws_the_generators_images(models, stock_images, name):
    assert_close(stock_images[f"{name}_by_hand"], draw(models, name), rtol=0, atol=1e-6)


@pytest.mark.parametrize("guidance", [1, 3])
def test_the_saved_pipeline_of_a_multi_step_model_takes_guidance(models, stock_images, guidance):
    denoiser, _ = models["many_steps"]
    sampler = MultiStep(4, guidance=float(guidance))
    images = draw_images(denoiser, sampler, denoiser.encode(LABELS), SEEDS)
    assert_close(stock_images[f"many_steps_{guidance}"], images, rtol=0, atol=1e-5)


def test_a_latent_generator_is_a_stock_dit_pipeline(models, stock_images):
    assert_close(stock_images["latent"], draw(models, "latent"), rtol=0, atol=1e-5)


def test_an_unconditional_model_is_a_stock_ddim_pipeline(models, stock_images):
    assert_close(stock_images["unconditional"], draw(models, "unconditional"), rtol=0, atol=1e-5)


@torch.no_grad()
def posterior_draw(denoiser: Denoiser, label: int, seed: int) -> Tensor:
    """Four draws of q(x_s | x_t, x0), the last one x0 itself (Ho et al., 2020, eq. 7)."""
    denoiser.network.eval()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(denoiser.sample_shape, generator=generator)[None]
    powers = denoiser.schedule.alphas.double() ** 2
    for t, s in ((999, 749), (749, 499), (499, 249)):
        x0 = denoiser.network(x, torch.tensor([t]), class_labels=torch.tensor([label])).sample
        kept = powers[t] / powers[s]
        mean = (
            powers[s].sqrt() * (1 - kept) / (1 - powers[t]) * x0
            + kept.sqrt() * (1 - powers[s]) / (1 - powers[t]) * x
        )
        std = ((1 - powers[s]) / (1 - powers[t]) * (1 - kept)).sqrt()
        x = (mean + std * torch.randn(x.shape, generator=generator)).float()
    last = denoiser.network(x, torch.tensor([249]), class_labels=torch.tensor([label])).sample
    return last.clamp(-1, 1) / 2 + 0.5


def test_the_noise_of_ancestral_steps_comes_from_the_callers_generator(models, stock_images):
    denoiser, _ = models["ancestral"]
    pairs = zip(LABELS, SEEDS, strict=True)
    by_hand = torch.cat([posterior_draw(denoiser, label, seed) for label, seed in pairs])
    assert_close(stock_images["ancestral"], by_hand, rtol=0, atol=1e-5)
