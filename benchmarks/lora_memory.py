"""What a run holds in memory: whole networks, a LoRA, sampling; and the estimate beside it.

    python benchmarks/lora_memory.py --out benchmarks/results/lora-memory.json

SFD on small SDXL and FLUX networks with random weights, on the CPU: bytes of all live tensors, each
once, between two iterations and at most within one; and while the original model is sampled.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from recipe_settings import request_settings
from results_file import write_results
from torch import Tensor, nn

from efface.data.source import ConditionSource
from efface.diffusion.adapters import share_network
from efface.diffusion.denoiser import Condition, VAECodec
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.sampling import MultiStep, draw_images
from efface.diffusion.schedule import NoiseSchedule
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.families import FAMILIES
from efface.diffusion.text.prompts import PromptEncoder
from efface.memory.estimate import Amounts, estimate, forget_rows
from efface.memory.live import Live, tensors_of
from efface.requests.concept.request import ForgetConcept
from efface.settings.base import Settings
from efface.training.networks import make_networks
from efface.training.trainer import Trainer

TOKENS = {"sdxl": 77, "flux": 512}
SETTINGS = ["train.batch_size=2", "train.steps=100", "method.forget_share=0.5"]
WAYS = {
    "whole networks": [],
    "LoRA": ["train.lora_rank=8"],
    "LoRA, gradient checkpointing": ["train.lora_rank=8", "train.gradient_checkpointing=true"],
    "LoRA, base in bfloat16": ["train.lora_rank=8", "train.base_dtype='bfloat16'"],
    "whole networks, mixed precision": ["train.mixed_precision='bf16'"],
    "LoRA, gradient checkpointing, mixed precision": [
        "train.lora_rank=8",
        "train.gradient_checkpointing=true",
        "train.mixed_precision='bf16'",
    ],
}
SAMPLES = 16  # at once
SAMPLING = {"sampling": 1.0, "sampling with guidance": 7.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = [measure(kind, way) for kind in TOKENS for way in WAYS]
    sampled = [measure_sampling(kind, way) for kind in TOKENS for way in SAMPLING]
    for row in (*rows, *sampled):
        print(
            f"{row['model']:5} {row['way']:46} held {row['held'] / 1e6:7.2f} MB "
            f"(estimate {row['held_estimate'] / row['held'] - 1:+.1%})  "
            f"peak {row['peak'] / 1e6:7.2f} MB (estimate "
            f"{row['peak_estimate'] / row['peak'] - 1:+.1%})"
        )
    if arguments.out is not None:
        content = {"settings": SETTINGS, "rows": rows, "samples": SAMPLES, "sampling": sampled}
        write_results(arguments.out, [0], content)


def measure(kind: str, way: str) -> dict[str, Any]:
    """Bytes of one run after an iteration, and those that the next one adds at most."""
    torch.manual_seed(0)
    settings = request_settings(ForgetConcept, None, [*SETTINGS, *WAYS[way]])
    folder = Path(tempfile.mkdtemp(prefix="lora-memory-"))
    denoiser, info = make_model(kind, folder)
    count = sum(p.numel() for p in denoiser.network.parameters())
    if settings.train.lora_rank is not None:
        if settings.train.base_dtype == "bfloat16":
            nn.Module.to(denoiser.network, torch.bfloat16)
        denoiser = share_network(denoiser)
    trainer = make_trainer(denoiser, kind, settings, folder)
    trainer.step(0)  # gradients and optimizer states come into being
    parts = parts_of(trainer, denoiser)
    sizes = {name: Live(tensors).given for name, tensors in parts.items()}
    step = Live(tensor for tensors in parts.values() for tensor in tensors)
    before = step.now
    del parts  # the next iteration lets go of the gradients
    with step:
        trainer.step(1)
    expected = estimate(info, settings, Amounts(forget_rows=forget_rows(settings)))
    peak = expected.peak(evaluated=False)
    return {
        "model": kind,
        "way": way,
        "network_parameters": count,
        **sizes,
        "held": before,
        "held_estimate": peak - expected.parts["activations"],
        "peak": step.peak,
        "peak_estimate": peak,
    }


def measure_sampling(kind: str, way: str) -> dict[str, Any]:
    """Bytes of two networks and a VAE, and at most while one of the networks is sampled."""
    torch.manual_seed(0)
    guidance = SAMPLING[way]
    changes = [f"evaluate.batch_size={SAMPLES}", f"evaluate.guidance={guidance}"]
    folder = Path(tempfile.mkdtemp(prefix="lora-memory-"))
    denoiser, info = make_model(kind, folder)
    condition, null = make_condition(kind, SAMPLES), make_condition(kind, 1)
    denoiser.prompts._rows[""] = {name: row[0] for name, row in null.tensors.items()}
    networks = [denoiser.network, denoiser.clone().network]
    own = [tensor for module in networks for tensor in tensors_of(module)] + vae_of(denoiser)
    live = Live([*own, *condition.tensors.values()])
    with live:
        sampler = MultiStep(2, guidance=guidance)
        draw_images(denoiser, sampler, condition, range(SAMPLES), SAMPLES)
    settings = request_settings(ForgetConcept, None, changes)
    expected = estimate(info, settings, Amounts(forget_rows=0)).evaluation
    return {
        "model": kind,
        "way": way,
        "held": Live(own).given,
        "held_estimate": sum(expected.values()) - expected["sampling"],
        "peak": live.peak,
        "peak_estimate": sum(expected.values()),
    }


def parts_of(trainer: Trainer, pretrained: TextDenoiser) -> dict[str, list[Tensor]]:
    """Everything that lives between two iterations."""
    networks = [denoiser.network for denoiser in (pretrained, *trainer.networks.values())]
    modules = [*networks, trainer.average.module]
    parameters = [tensor for module in modules for tensor in tensors_of(module)]
    optimizers = [phase.optimizer for phase in trainer.stepper.phases.values()]
    return {
        "parameters": parameters,
        "vae": vae_of(pretrained),
        "optimizer": [v for o in optimizers for state in o.state.values() for v in state.values()],
        "gradients": [p.grad for p in parameters if p.grad is not None],
    }


def vae_of(denoiser: TextDenoiser) -> list[Tensor]:
    codec: Any = denoiser.codec
    return tensors_of(codec.vae)


def make_model(kind: str, folder: Path) -> tuple[TextDenoiser, ModelInfo]:
    """A network of some million parameters with a VAE, without text encoders."""
    family = FAMILIES[kind]
    network = make_unet() if kind == "sdxl" else make_transformer()
    network.save_config(folder / family.component)
    vae = make_vae()
    vae.save_config(folder / "vae")
    index: dict[str, Any] = {
        "_class_name": family.pipelines[0],
        family.component: ["diffusers", family.network],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    encoders: Any = SimpleNamespace(config={})
    flow = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler = flow if family.flow else diffusers.DDIMScheduler()
    of_flow, of_diffusion = NoiseSchedule.from_flow_scheduler, NoiseSchedule.from_scheduler
    denoiser = TextDenoiser(
        network=network,
        schedule=of_flow(scheduler) if family.flow else of_diffusion(scheduler),
        kind="flow" if family.flow else "epsilon",
        sample_shape=(4, 16, 16),
        codec=VAECodec(vae),
        scheduler=scheduler,
        family=family,
        prompts=PromptEncoder(family, encoders, (), {}),
        folder=folder,
        index=index,
    )
    info = ModelInfo(
        source=kind,
        on_hub=False,
        folder=folder,
        component=family.component,
        network_class=family.network,
        vae=True,
        num_classes=None,
        null_label=None,
        default_steps=50,
        input_scale=1.0,
        index=index,
        family=family,
        encoders=(),
        sample_size=16,
    )
    denoiser.prompts.free()
    return denoiser, info


def make_unet() -> Any:
    by_block: dict[str, Any] = {
        "attention_head_dim": (2, 4, 8),
        "transformer_layers_per_block": (1, 1, 2),
    }
    return diffusers.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=256,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=128 + 6 * 32,
        **by_block,
    ).eval()


def make_transformer() -> Any:
    return diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=32,
        num_attention_heads=6,
        joint_attention_dim=256,
        pooled_projection_dim=128,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    ).eval()


def make_vae() -> Any:
    by_block: dict[str, Any] = {
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "block_out_channels": (4, 8, 8),
    }
    return diffusers.AutoencoderKL(norm_num_groups=4, latent_channels=4, **by_block).eval()


def make_trainer(denoiser: TextDenoiser, kind: str, settings: Settings, folder: Path) -> Trainer:
    """SFD over four rows of a table of random states."""
    method, train = settings.method, settings.train
    source = ConditionSource(
        table=make_condition(kind, 4),
        retain=[1, 2, 3],
        forget=[0],
        replacements=[[1]],
        retain_rows=train.batch_size,
        forget_rows=forget_rows(settings),
        seed=0,
    )
    return Trainer(method, make_networks(method, denoiser, train), source, train, folder)


def make_condition(kind: str, rows: int) -> Condition:
    """Random states, as if prompts had been encoded."""
    tensors = {"encoder_hidden_states": torch.randn(rows, TOKENS[kind], 256)}
    tensors["pooled_projections" if kind == "flux" else "text_embeds"] = torch.randn(rows, 128)
    if kind == "flux":
        return Condition(tensors | {"guidance": torch.full((rows,), 3.5)})
    sizes = torch.tensor([128.0, 128.0, 0.0, 0.0, 128.0, 128.0])
    return Condition(tensors | {"time_ids": sizes.expand(rows, 6)})


if __name__ == "__main__":
    main()
