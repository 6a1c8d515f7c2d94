"""When to stop: the prompts draw the memorised picture no more."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import Sampler, draw_images
from efface.requests.memorised.similarity import CopyDetector


@dataclass(frozen=True, eq=False, kw_only=True)
class CopyStopper:
    """Draws pictures of every prompt from the same seeds at every check, and counts copies.

    Nothing is remembered: a resumed run stops where an uninterrupted one does.
    """

    detector: CopyDetector
    prompts: Condition  # one row each
    sampler: Sampler
    seeds: range  # one picture of each prompt per seed; not those of the evaluation
    batch_size: int

    def check(self, student: Denoiser) -> str | None:
        """A sentence if the run should stop. The first copy ends the drawing."""
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
        return f"none of {len(rows)} pictures of its prompts is a copy"
