"""When to stop: the prompts no longer generate the memorised image."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import Sampler, draw_images
from efface.requests.memorised.similarity import CopyDetector


@dataclass(frozen=True, eq=False, kw_only=True)
class CopyStopper:
    """Samples every prompt from the same seeds at every check, and looks for copies.

    Nothing is remembered: a resumed run stops where an uninterrupted one does.
    """

    detector: CopyDetector
    prompts: Condition  # one row each
    sampler: Sampler
    seeds: range  # one sample of each prompt per seed; not those of the evaluation
    batch_size: int

    def check(self, student: Denoiser) -> str | None:
        """A sentence if the run should stop. The first copy ends the sampling."""
        count = len(self.seeds)
        rows = torch.arange(len(self.prompts)).repeat_interleave(count)
        seeds = [*self.seeds] * len(self.prompts)
        for start in range(0, len(rows), self.batch_size):
            part = slice(start, start + self.batch_size)
            images = draw_images(
                student, self.sampler, self.prompts[rows[part]], seeds[part], self.batch_size
            )
            if self.detector.copies(images).any():
                return None
        return f"none of {len(rows)} samples of its prompts is a copy"
