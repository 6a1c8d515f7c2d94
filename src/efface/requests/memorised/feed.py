"""Latents that the loop is fed with, when it may stop, and what the record says of both."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from efface.data.batch import ImageBank
from efface.data.images import to_model
from efface.data.randomness import derive_seed
from efface.data.source import PairSource, RetainOnly
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import Sampler, draw_images, rows_at_once
from efface.memory.estimate import forget_rows
from efface.requests.memorised.captions import Sought
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import Sides
from efface.settings.base import Settings

ENCODE_SEED = 9_100_000  # of the VAE's posterior
AT_ONCE = 32  # images in one pass of the VAE


def pair_source(
    denoiser: Denoiser,
    captions: Sequence[Sides],
    prompts: Condition,
    controls: tuple[Condition, Tensor],
    settings: Settings,
) -> PairSource:
    """Latents of both sides, under the original and the modified prompt (two rows for a caption).

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
    forget, retain = (
        torch.cat([encode_images(denoiser, images) for images in side])
        for side in ([one.forget for one in captions], [one.retain for one in captions])
    )
    groups = tuple((len(one.retain), len(one.forget)) for one in captions)
    return PairSource(
        bank=ImageBank(
            retain,
            forget,
            len(forget) / (len(forget) + len(retain)),
            groups if len(groups) > 1 else (),
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
    """Stops where the prompts no longer generate the memorised images.

    Samples every prompt from the same seeds at every check. Nothing is remembered: a resumed run
    stops where an uninterrupted one does.
    """

    captions: Sequence[Sought]
    sampler: Sampler
    seeds: range  # one sample of each prompt per seed; not those of the evaluation
    batch_size: int

    def check(self, student: Denoiser) -> str | None:
        """A sentence if the run should stop. The first copy ends the sampling."""
        count = 0
        for caption in self.captions:
            rows = [(prompt, seed) for prompt in caption.prompts.values() for seed in self.seeds]
            for start in range(0, len(rows), self.batch_size):
                prompts, seeds = zip(*rows[start : start + self.batch_size], strict=True)
                condition = student.encode(prompts)
                images = draw_images(student, self.sampler, condition, seeds, self.batch_size)
                if caption.detector.copies(images).any():
                    return None
            count += len(rows)
        return f"none of {count} samples of its prompts is a copy"
