"""LoRAs that efface wrote, loaded by stock pipelines where efface cannot be imported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from efface.diffusion.adapters import SharedNetwork, share_network
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import save_lora, save_pipeline
from efface.diffusion.sampling import OneStep, draw_images
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.families import PIPELINES
from efface.methods.sfd import SFD

Make = Callable[..., TextDenoiser]
# Every kind of model that loads a LoRA; those of a group are drawn in one process.
GROUPS = (("sd", "flux"), ("sdxl", "sd3", "sd_v", "sd35", "flux_schnell"))
COMPONENTS = dict.fromkeys(("sd", "sdxl", "sd_v"), "unet")
COMPONENTS |= dict.fromkeys(("flux", "flux_schnell", "sd3", "sd35"), "transformer")
SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in GROUPS[1]]
KINDS = [*GROUPS[0], *SLOW]
PROMPTS, SEEDS = ["a cat", "two bags", "Red coat."], [11, 12, 13]

STOCK = """
import json, os, sys, diffusers, torch
from safetensors.torch import load_file, save_file

root = sys.argv[1]
jobs = json.load(open(f"{root}/jobs.json"))
noise = load_file(f"{root}/noise.safetensors")["noise"]
images = {}


def draw(pipe):
    options, latents = {"guidance_scale": 1.0}, noise
    if type(pipe) is diffusers.FluxPipeline:
        options, latents = {}, pipe._pack_latents(noise, *noise.shape)
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        jobs["prompts"], height=16, width=16, latents=latents, num_inference_steps=1,
        output_type="pt", **options,
    ).images


for kind, base in jobs["bases"].items():
    images[f"{kind}/whole"] = draw(diffusers.DiffusionPipeline.from_pretrained(f"{root}/{kind}"))
    pipe = diffusers.DiffusionPipeline.from_pretrained(base)
    scheduler = json.load(open(f"{root}/{kind}_lora/scheduler/scheduler_config.json"))
    pipe.scheduler = getattr(diffusers, scheduler["_class_name"]).from_pretrained(
        f"{root}/{kind}_lora", subfolder="scheduler"
    )
    images[f"{kind}/untouched"] = draw(pipe)
    pipe.load_lora_weights(f"{root}/{kind}_lora", adapter_name="first")
    images[f"{kind}/lora"] = draw(pipe)
    for scale in (0.0, 0.5):
        pipe.set_adapters(["first"], [scale])
        images[f"{kind}/scaled {scale}"] = draw(pipe)
    if os.path.exists(f"{root}/{kind}_lora/kohya.safetensors"):
        pipe.unload_lora_weights()
        images[f"{kind}/unloaded"] = draw(pipe)
        pipe.load_lora_weights(f"{root}/{kind}_lora", weight_name="kohya.safetensors")
        images[f"{kind}/kohya"] = draw(pipe)
        pipe.unload_lora_weights()
        pipe.load_lora_weights(f"{root}/{kind}_lora", adapter_name="first")
    pipe.load_lora_weights(f"{root}/{kind}_second", adapter_name="second")
    pipe.set_adapters(["first", "second"], [1.0, 0.25])
    images[f"{kind}/stacked"] = draw(pipe)

save_file({k: v.contiguous() for k, v in images.items()}, f"{root}/images.safetensors")
"""


def adapted(denoiser: TextDenoiser, seed: int, scale: float = 1.0) -> TextDenoiser:
    """A view with a LoRA of its own, alpha three times the rank; `scale` is that of its change."""
    shared = share_network(denoiser).network
    assert isinstance(shared, SharedNetwork)
    view = shared.adapted(denoiser.family.attention, 2, 6.0, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in view.named_parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
            if "lora_B" in name:
                parameter *= scale
    return denoiser.with_network(view)


def fused(denoiser: TextDenoiser, base: Denoiser) -> TextDenoiser:
    assert isinstance(denoiser.network, SharedNetwork)
    return denoiser.with_network(denoiser.network.fused(base.network))


@pytest.fixture(scope="module")
def roots(
    tmp_path_factory: pytest.TempPathFactory,
    pipelines: Callable[[str], Path],
    text_model: Make,
    without_efface: Callable[..., None],
) -> Callable[[str], Path]:
    """Whole pipelines and two LoRAs of a family, and what the stock classes drew."""
    made: dict[tuple[str, ...], Path] = {}

    def root(kind: str) -> Path:
        group = next(group for group in GROUPS if kind in group)
        if group not in made:
            made[group] = tmp_path_factory.mktemp("lora")
            for name in group:
                write(made[group], name, text_model(name, fresh=True))
            write_jobs(made[group], {name: str(pipelines(name)) for name in group})
            without_efface(STOCK, made[group])
        return made[group]

    return root


def write(root: Path, kind: str, base: TextDenoiser) -> None:
    first = adapted(base, 1)
    save_pipeline(fused(first, base), root / kind, sampler(base))
    save_lora(first, root / f"{kind}_lora", sampler(base))
    save_lora(adapted(base, 2), root / f"{kind}_second", sampler(base))


def write_jobs(root: Path, bases: dict[str, str]) -> None:
    noise = torch.stack(
        [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(s)) for s in SEEDS]
    )
    save_file({"noise": noise}, root / "noise.safetensors")
    (root / "jobs.json").write_text(json.dumps({"prompts": PROMPTS, "bases": bases}))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def stock(roots: Callable[[str], Path], kind: str) -> dict[str, Tensor]:
    return load_file(roots(kind) / "images.safetensors")


def sampler(denoiser: Denoiser) -> OneStep:
    return SFD().sampler(denoiser)


def draw(denoiser: TextDenoiser) -> Tensor:
    return draw_images(denoiser, sampler(denoiser), denoiser.encode(PROMPTS), SEEDS)


def test_the_whole_pipeline_and_the_lora_draw_the_students_pictures(
    stock: dict[str, Tensor], text_model: Make, kind: str
) -> None:
    images = draw(adapted(text_model(kind, fresh=True), 1))
    assert_close(stock[f"{kind}/whole"], images, rtol=0, atol=1e-5)
    assert_close(stock[f"{kind}/lora"], images, rtol=0, atol=1e-5)
    assert (images - stock[f"{kind}/untouched"]).abs().max() > 0.01


def test_the_names_of_kohyas_scripts_give_the_same_pictures(
    stock: dict[str, Tensor], kind: str
) -> None:
    """A U-Net's alone; for transformers user interfaces read the names of diffusers."""
    assert (f"{kind}/kohya" in stock) is (COMPONENTS[kind] == "unet")
    if f"{kind}/kohya" in stock:
        assert_close(stock[f"{kind}/kohya"], stock[f"{kind}/lora"], rtol=0, atol=1e-5)
        assert_close(stock[f"{kind}/unloaded"], stock[f"{kind}/untouched"], rtol=0, atol=1e-5)


def test_keys_are_those_that_user_interfaces_build(roots: Callable[[str], Path]) -> None:
    """ComfyUI: "lora_unet_" and the name of a weight in diffusers, every dot an underscore.

    Of each there are lora_down (rank, in), lora_up (out, rank) and alpha, which is the rank.
    """
    root = roots("sd")
    unet = diffusers.UNet2DConditionModel.from_pretrained(root / "sd" / "unet")
    known = {
        "lora_unet_" + name.removesuffix(".weight").replace(".", "_"): weight.shape
        for name, weight in unet.named_parameters()
        if name.endswith(".weight")
    }
    tensors = load_file(root / "sd_lora" / "kohya.safetensors")
    layers = {key.partition(".")[0] for key in tensors}
    assert layers <= known.keys() and len(layers) == 32
    assert tensors.keys() == {
        f"{layer}.{part}"
        for layer in layers
        for part in ("lora_down.weight", "lora_up.weight", "alpha")
    }
    for layer in layers:
        down, up = (tensors[f"{layer}.lora_{side}.weight"] for side in ("down", "up"))
        assert (up.shape[0], down.shape[1]) == known[layer]
        assert down.shape[0] == up.shape[1] == float(tensors[f"{layer}.alpha"]) == 2
        assert layer.endswith(("to_q", "to_k", "to_v", "to_out_0"))


def test_the_lora_is_scaled_by_stock_diffusers(
    stock: dict[str, Tensor], text_model: Make, kind: str
) -> None:
    """A scale of 0 gives the base's pictures, and 0.5 those of half the change."""
    base = text_model(kind, fresh=True)
    assert_close(stock[f"{kind}/untouched"], draw(base), rtol=0, atol=1e-5)
    assert_close(stock[f"{kind}/scaled 0.0"], stock[f"{kind}/untouched"], rtol=0, atol=1e-5)
    half = draw(adapted(base, 1, 0.5))
    assert_close(stock[f"{kind}/scaled 0.5"], half, rtol=0, atol=1e-5)


def test_two_loras_stack(stock: dict[str, Tensor], text_model: Make, kind: str) -> None:
    base = text_model(kind, fresh=True)
    both = fused(adapted(base, 2, 0.25), fused(adapted(base, 1), base))
    assert_close(stock[f"{kind}/stacked"], draw(both), rtol=0, atol=1e-5)


def test_the_table_of_families_knows_which_pipelines_load_a_lora() -> None:
    for name, family in PIPELINES.items():
        assert hasattr(getattr(diffusers, name), "load_lora_weights") is family.loads_lora


def test_the_lora_says_how_it_is_used(roots: Callable[[str], Path]) -> None:
    root = roots("sd")
    text = (root / "sd_lora" / "README.md").read_text()
    lines = ("load_lora_weights", "num_inference_steps=1, guidance_scale=1.0", "DDIMScheduler")
    assert all(line in text for line in lines) and str(root) not in text
    assert "read `kohya.safetensors`" in text
    assert "read `pytorch_lora_weights.safetensors`" in (root / "flux_lora/README.md").read_text()
    assert "guidance_scale" not in (root / "flux_lora" / "README.md").read_text()
