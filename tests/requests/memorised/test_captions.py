"""What is found of captions, and what several of them must not teach one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from efface.errors import DataError
from efface.requests.memorised.captions import (
    Caption,
    Prepared,
    Sought,
    prepare,
    read_sought,
    without_copies_of_others,
)
from efface.requests.memorised.detection import Detection
from efface.requests.memorised.sampling import PromptSampler, to_unit
from efface.requests.memorised.searching import Modification, Tried
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import PIXELS, CopyDetector, Sides
from efface.requests.memorised.stages import Stages

OwnSettings = Callable[..., MemorisedSettings]


def prepared(reference: torch.Tensor, retain: torch.Tensor, prompt: str) -> Prepared:
    images = retain[:0]
    detector = CopyDetector(reference=to_unit(reference), threshold=0.99, comparison=PIXELS)
    detection = Detection(
        is_memorised=True,
        norm=1.0,
        norm_p=0.01,
        similarity=1.0,
        similarity_p=0.01,
        copies=4,
        copies_p=None,
        samples=4,
        controls=59,
        threshold=0.99,
        compared_by=PIXELS.name,
        reference=detector.reference,
        prompt_images=images,
        control_images=images,
    )
    tried = Tried(text=f"old {prompt}", norm=1.0, copies=2, samples=4)
    return Prepared(
        caption=Caption(prompt=prompt, modified_prompt=None, image=None),
        detection=detection,
        modification=Modification(tried=(tried,)),
        sides=Sides(forget=reference[None], retain=retain, undecided=0),
        sought=Sought(prompt=prompt, modified=tried.text, detector=detector),
    )


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(8, 3, 8, 8, generator=generator) * 255).byte()


def test_a_copy_of_another_captions_image_is_not_retained(
    images: torch.Tensor, own_settings: OwnSettings
) -> None:
    own = own_settings("memorised.least_rows=2")
    one = prepared(images[0], torch.cat([images[2:5], images[1:2]]), "red bag")
    other = prepared(images[1], images[5:8], "blue cat")
    first, second = without_copies_of_others([one, other], own)
    assert first.sides.retain.equal(images[2:5])
    assert second.sides.retain.equal(images[5:8])
    assert [first.notes()["others"], second.notes()["others"]] == [3, 3]
    (alone,) = without_copies_of_others([one], own)
    assert alone.sides.retain.equal(one.sides.retain)
    few = prepared(images[0], torch.cat([images[2:3], images[1:2]]), "red bag")
    with pytest.raises(DataError, match="all but 1 of 2 retained samples for 'red bag'"):
        without_copies_of_others([few, other], own)


def test_captions_of_one_run_are_prepared_apart_and_read_again(
    sampler: PromptSampler, prompt: str, own_settings: OwnSettings, words: list[str], tmp_path: Path
) -> None:
    own = own_settings(
        "memorised.force=true",
        "memorised.samples=8",
        "memorised.control_images=2",
        "memorised.noises=1",
        "memorised.images=32",
        "memorised.least_rows=1",
        "memorised.copy_similarity=0.9",
    )
    one = Caption(prompt=prompt, modified_prompt="red bag on", image=None)
    captions = [one, replace(one, modified_prompt="red bag tv")]
    made = [
        prepare(caption, Stages(tmp_path, number=n), sampler, words[:59], PIXELS, own)
        for n, caption in enumerate(captions, start=1)
    ]
    found = read_sought(tmp_path, captions, PIXELS)
    assert [one.modified for one in found] == ["red bag on", "red bag tv"]
    for again, before in zip(found, made, strict=True):
        assert again.prompts == before.sought.prompts
        assert again.detector.reference.equal(before.sought.detector.reference)
    with pytest.raises(DataError, match="does not hold what this run was prepared with"):
        read_sought(tmp_path, captions[:1], PIXELS)
