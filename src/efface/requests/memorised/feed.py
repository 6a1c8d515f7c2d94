"""Latents that the loop is fed with, and what the record says of their preparation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from efface.data.bank import ImageBank
from efface.data.images import to_model
from efface.data.randomness import derive_seed
from efface.data.source import PairSource, RetainOnly
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import rows_at_once
from efface.memory.amounts import forget_rows
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.stages import Modified, Sides
from efface.requests.memorised.verdict import Detection
from efface.settings.base import Settings

ENCODE_SEED = 9_100_000  # of the VAE's posterior
AT_ONCE = 32  # images in one pass of the VAE


def pair_source(
    denoiser: Denoiser,
    sides: Sides,
    prompts: tuple[Condition, Condition],
    controls: tuple[Condition, Tensor],
    settings: Settings,
) -> PairSource:
    """Latents of both sides, under the original and the modified prompt.

    If the settings ask for them, there are retain-only rows beside the pairs: samples (uint8) of
    control prompts (one row each), each conditioned on its own prompt.
    """
    own, retain_only = settings.of(MemorisedSettings), None
    if own.control_share:
        condition, samples = controls
        rows = torch.arange(len(condition)).repeat_interleave(own.control_images)
        retain_only = RetainOnly(
            images=encode_images(denoiser, samples),
            condition=condition[rows],
            share=own.control_share,
        )
    forget, retain = sides.forget, sides.retain
    return PairSource(
        bank=ImageBank(
            encode_images(denoiser, retain),
            encode_images(denoiser, forget),
            len(forget) / (len(forget) + len(retain)),
        ),
        retain_rows=settings.train.batch_size,
        forget_rows=forget_rows(settings),
        seed=derive_seed(settings.train.seed, "images"),
        table=Condition.cat(list(prompts)),
        shares=(own.original_share, 1 - own.original_share),
        retain_only=retain_only,
    )


@torch.no_grad()
def encode_images(denoiser: Denoiser, images: Tensor) -> Tensor:
    """Images (N, C, H, W) uint8 in model space, each encoded once; on the denoiser's device."""
    generator = torch.Generator().manual_seed(ENCODE_SEED)
    parts = [
        denoiser.codec.encode(to_model(part).to(denoiser.device), generator)
        for part in images.split(rows_at_once(denoiser, AT_ONCE))
    ]
    return torch.cat(parts)


def preparation_notes(detection: Detection, modified: Modified, sides: Sides) -> dict[str, Any]:
    return {
        "verdict": detection.verdict,
        "copies_before": detection.copies,
        "samples_before": detection.samples,
        "modified_by": modified.tried.way,
        "modified_prompt": modified.called,
        "modified_share": modified.tried.share,
        "prompts_tried": modified.count,
        "copies": len(sides.forget),
        "others": len(sides.retain),
        "undecided": sides.undecided,
        "split_agreement": sides.agreement,
    }
