"""Latents that the loop is fed with, when it may stop, and what the record says of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from efface.data.batch import ImageBank
from efface.data.images import to_model
from efface.data.randomness import derive_seed
from efface.data.source import PairSource, RetainOnly
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import Sampler, draw_images, rows_at_once
from efface.memory.estimate import forget_rows
from efface.requests.memorised.detection import Detection
from efface.requests.memorised.searching import Modification
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import CopyDetector, Sides
from efface.settings.base import Settings

ENCODE_SEED = 9_100_000  # of the VAE's posterior
AT_ONCE = 32  # images in one pass of the VAE


def pair_source(
    denoiser: Denoiser,
    sides: Sides,
    prompts: Condition,
    controls: tuple[Condition, Tensor],
    settings: Settings,
) -> PairSource:
    """Latents of both sides, under the original and the modified prompt (two rows).

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
        table=prompts,
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


@dataclass(frozen=True, eq=False, kw_only=True)
class CopyStopper:
    """Stops where the prompts no longer generate the memorised image.

    Samples every prompt from the same seeds at every check. Nothing is remembered: a resumed run
    stops where an uninterrupted one does.
    """

    detector: CopyDetector
    prompts: Sequence[str]
    sampler: Sampler
    seeds: range  # one sample of each prompt per seed; not those of the evaluation
    batch_size: int

    def check(self, student: Denoiser) -> str | None:
        """A sentence if the run should stop. The first copy ends the sampling."""
        rows = [(prompt, seed) for prompt in self.prompts for seed in self.seeds]
        for start in range(0, len(rows), self.batch_size):
            prompts, seeds = zip(*rows[start : start + self.batch_size], strict=True)
            condition = student.encode(prompts)
            images = draw_images(student, self.sampler, condition, seeds, self.batch_size)
            if self.detector.copies(images).any():
                return None
        return f"none of {len(rows)} samples of its prompts is a copy"


def preparation_notes(
    detection: Detection, modification: Modification, sides: Sides
) -> dict[str, Any]:
    return {
        "memorised": detection.is_memorised,
        "copies_before": detection.copies,
        "samples_before": detection.samples,
        "modified_prompt": modification.prompt.text,
        "modified_share": modification.prompt.share,
        "prompts_tried": len(modification.tried),
        "copies": len(sides.forget),
        "others": len(sides.retain),
        "undecided": sides.undecided,
    }
