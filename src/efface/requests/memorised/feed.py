"""Latents that the loop is fed with, and what the record says of their preparation."""

from __future__ import annotations

from dataclasses import replace
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
from efface.requests.memorised.stages import Modified
from efface.requests.memorised.verdict import Detection
from efface.settings.base import Settings

ENCODE_SEED = 9_100_000  # of the VAE's posterior
AT_ONCE = 32  # images in one pass of the VAE


def pair_source(
    denoiser: Denoiser,
    sides: tuple[Tensor, Tensor],
    prompts: tuple[Condition, Condition],
    settings: Settings,
) -> PairSource:
    """Latents of images to forget and to retain (uint8), under the original and modified prompt."""
    forget, retain = sides
    share, rows = settings.of(MemorisedSettings).original_share, settings.train.batch_size
    return PairSource(
        bank=ImageBank(
            encode_images(denoiser, retain),
            encode_images(denoiser, forget),
            len(forget) / (len(forget) + len(retain)),
        ),
        retain_rows=rows,
        forget_rows=forget_rows(settings),
        seed=derive_seed(settings.train.seed, "images"),
        table=Condition.cat(list(prompts)),
        shares=(share, 1 - share),
    )


def with_controls(
    source: PairSource,
    denoiser: Denoiser,
    controls: Condition,
    samples: Tensor,
    settings: MemorisedSettings,
) -> PairSource:
    """Retain-only rows beside the pairs, if the settings ask for them.

    These are the samples of control prompts (one row each), each conditioned on its own prompt.
    """
    if not settings.control_share:
        return source
    rows = torch.arange(len(controls)).repeat_interleave(settings.control_images)
    return replace(
        source,
        retain_only=RetainOnly(
            images=encode_images(denoiser, samples),
            condition=controls[rows],
            share=settings.control_share,
        ),
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


def preparation_notes(detection: Detection, modified: Modified) -> dict[str, Any]:
    return {
        "verdict": detection.verdict,
        "copies_before": detection.copies,
        "samples_before": detection.samples,
        "modified_by": modified.tried.way,
        "modified_prompt": modified.called,
        "modified_share": modified.tried.share,
        "prompts_tried": modified.count,
    }
