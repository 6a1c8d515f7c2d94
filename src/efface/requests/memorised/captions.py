"""Captions with a memorised image: as requests name them, and as they are found before training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.errors import DataError
from efface.requests.memorised.detection import Detection, detect, detector_of, require_memorised
from efface.requests.memorised.sampling import PromptSampler, to_unit
from efface.requests.memorised.searching import Modification, modify
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import Comparison, CopyDetector, Sides, separate
from efface.requests.memorised.stages import Stages, preparation_numbers, read_prepared

ORIGINAL, MODIFIED = "", "_modified"  # prompts, by what the names of their figures end in


@dataclass(frozen=True, eq=False, kw_only=True)
class Caption:
    """A prompt, and what a request says of it."""

    prompt: str
    modified_prompt: str | None  # None: to be searched for
    image: Tensor | None  # (C, H, W) uint8; None: the one that samples of the prompt agree on


@dataclass(frozen=True, eq=False, kw_only=True)
class Sought:
    """A prompt, its modification, and what distinguishes copies of its image."""

    prompt: str
    modified: str
    detector: CopyDetector

    @property
    def prompts(self) -> dict[str, str]:
        """The original and the modified one; a prompt that needed no change is there once."""
        own = {ORIGINAL: self.prompt}
        return own if self.modified == self.prompt else own | {MODIFIED: self.modified}


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepared:
    """What was found of a caption, and the images to learn from."""

    caption: Caption
    detection: Detection
    modification: Modification
    sides: Sides
    sought: Sought

    def notes(self) -> dict[str, Any]:
        return {
            "memorised": self.detection.is_memorised,
            "copies_before": self.detection.copies,
            "samples_before": self.detection.samples,
            "modified_prompt": self.modification.prompt.text,
            "modified_share": self.modification.prompt.share,
            "prompts_tried": len(self.modification.tried),
            "copies": len(self.sides.forget),
            "others": len(self.sides.retain),
            "undecided": self.sides.undecided,
        }


def prepare(
    caption: Caption,
    stages: Stages,
    sampler: PromptSampler,
    controls: Sequence[str],
    comparison: Comparison,
    own: MemorisedSettings,
) -> Prepared:
    """Find the image of a caption and a modified prompt, and sample both sides; each is kept.

    RequestError where nothing is memorised or no prompt generates the image only sometimes,
    DataError where its samples cannot be separated.
    """
    image = None if caption.image is None else to_unit(caption.image)
    detection = stages.once(
        Detection,
        lambda: detect(sampler, caption.prompt, controls, image, comparison, own),
        lambda found: {"detection": found.sheet()},
    )
    if not own.force:
        require_memorised(detection, caption.prompt)
    detector = detector_of(detection, comparison)
    modification = stages.once(
        Modification,
        lambda: modify(sampler, detector, own, caption.prompt, caption.modified_prompt),
    )
    modified = modification.prompt.text
    sides = stages.once(
        Sides,
        lambda: separate(sampler.sample([modified], own.images, "synthetic"), detector, own),
        lambda found: {"copies": found.forget, "others": found.retain},
    )
    return Prepared(
        caption=caption,
        detection=detection,
        modification=modification,
        sides=sides,
        sought=Sought(prompt=caption.prompt, modified=modified, detector=detector),
    )


def without_copies_of_others(
    prepared: Sequence[Prepared], own: MemorisedSettings
) -> list[Prepared]:
    """The same, without retained images that are copies of another caption's image.

    DataError where next to nothing is left to retain.
    """
    found = []
    for one in prepared:
        images = to_unit(one.sides.retain)
        copies = np.zeros(len(images), dtype=bool)
        for other in prepared:
            if other is not one:
                copies |= other.sought.detector.copies(images)
        kept = one.sides.retain[torch.from_numpy(~copies)]
        if len(kept) < own.least_rows:
            raise DataError(
                f"all but {len(kept)} of {len(images)} retained samples for "
                f"{one.caption.prompt!r} are copies of the image of another caption: give a "
                "--modified-prompt that does not generate that."
            )
        found.append(replace(one, sides=replace(one.sides, retain=kept)))
    return found


def read_sought(
    run: Path, captions: Sequence[Caption], comparison: Comparison
) -> tuple[Sought, ...]:
    """What a finished run was prepared with; DataError where that is missing, or not of a run."""
    found = []
    for caption, number in zip(captions, preparation_numbers(len(captions)), strict=True):
        detection, modification = read_prepared(run, number)
        found.append(
            Sought(
                prompt=caption.prompt,
                modified=modification.prompt.text,
                detector=detector_of(detection, comparison),
            )
        )
    return tuple(found)
