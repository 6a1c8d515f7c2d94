"""What tests of many folders share: settings of tiny runs, and tiny models of pixels."""

from __future__ import annotations

import diffusers
import torch

from efface.data.images import load_images
from efface.diffusion.denoiser import ClassDenoiser, Denoiser
from efface.diffusion.loading import build_denoiser
from efface.requests.concept.request import ForgetConcept
from efface.zoo.build.images import new_denoiser
from efface.zoo.build.settings import NetworkSettings

# Settings of tiny runs on text-to-image models.
GUIDANCES = ("teacher_guidance", "fake_score_guidance", "fake_score_training_guidance")
SMALL = [
    "train.steps=2",
    "train.batch_size=4",
    "train.learning_rate=1e-3",
    "train.checkpoint_every=1",
    "train.mixed_precision=no",
    "train.gradient_checkpointing=false",
    "train.ignore_memory=true",  # tests/memory estimates every family
    "method.forget_share=0.5",
    *(f"method.{which}=1.5" for which in GUIDANCES),
    "method.fake_score_condition_dropout=0.25",
    'concept.templates=["a {}"]',
    'concept.subjects=["cat", "dog"]',
    'concept.people=["man", "woman"]',
    "evaluate.forget_samples=10",
    "evaluate.retain_samples=10",
    "evaluate.baseline_steps=1",
    "evaluate.guidance=1.0",
]
GUARDED = [*SMALL, "train.guard_every=2"]
BAG = ForgetConcept(concept="bag", replacement="coat")
KEYWORDS = ("red", "green")
SCHEDULER = {
    "zero_terminal_snr": "rescale_betas_zero_snr",
    "clip_sample": "clip_sample",
    "timesteps": "num_train_timesteps",
}


def make_tiny_unet(conditional: bool = True, seed: int = 0, **overrides: object) -> Denoiser:
    """8x8x1, channels 8 and 16, ten classes and a null label; random weights from `seed`.

    `overrides` are settings of the network, or of the scheduler.
    """
    torch.manual_seed(seed)
    scheduler = {
        theirs: overrides.pop(name) for name, theirs in SCHEDULER.items() if name in overrides
    }
    settings = NetworkSettings(**({"channels": (8, 16), "norm_groups": 4} | overrides))
    made = new_denoiser(settings, load_images("digits", "test"), conditional)
    classes = made.num_classes if isinstance(made, ClassDenoiser) else None
    changed = diffusers.DDIMScheduler.from_config(made.scheduler.config, **scheduler)
    return build_denoiser(made.network, changed, classes, classes)


def pixel_transformer() -> Denoiser:
    torch.manual_seed(0)
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        patch_size=4,
        sample_size=8,
        in_channels=1,
        out_channels=1,
        num_embeds_ada_norm=10,
        norm_num_groups=4,
    )
    return build_denoiser(network.eval(), diffusers.DDIMScheduler(), 10, 10)
