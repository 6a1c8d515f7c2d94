"""What is a copy, which samples are looked at, and which unseen images are compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from efface.data.images import ImageSet, load_images, to_model
from efface.data.split import Split, copy_distance, distances, split_images
from efface.diffusion.sampling import MultiStep
from efface.evaluation.sample_sets import Subject, observe
from efface.evaluation.store import Store
from efface.requests.images.protocol import NEAR, SAMPLES, ImageProtocol, retained_distance
from efface.requests.images.settings import ImageSettings
from efface.settings.evaluate import EvaluateSettings

COUNT = 40
IMAGES = ImageSet(
    images=torch.arange(COUNT, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2),
    labels=None,
    names=tuple(map(str, range(COUNT))),
)


def protocol(unseen: int, images: ImageSet | None = IMAGES) -> ImageProtocol:
    own = ImageSettings(unseen=unseen, samples=12)
    config = EvaluateSettings(seed=100)
    return ImageProtocol(
        views={},
        split=Split(forget=IMAGES.select(torch.arange(2))),
        unseen=images,
        config=config,
        own=own,
        digests={},
    )


@pytest.mark.parametrize("unseen", [4, 40, 100])
def test_as_many_are_chosen_as_there_are_at_most_and_from_both_ends(unseen: int) -> None:
    chosen = protocol(unseen).chosen_unseen()
    assert chosen is not None
    assert torch.equal(chosen, protocol(unseen).chosen_unseen())
    values = ((chosen[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
    assert len(values) == len(set(values)) == min(unseen, COUNT)
    assert {0, COUNT - 1} <= set(values)
    assert values != sorted(values)  # so that the first of them are of all kinds
    assert torch.equal(chosen, to_model(IMAGES.images[values]))


def test_without_unseen_images_none_are_chosen() -> None:
    assert protocol(4, None).chosen_unseen() is None
    assert protocol(4).seeds == range(100, 112)


def test_a_copy_is_nearer_than_any_retained_image_could_be_to_two() -> None:
    digits = load_images("digits", "test")
    split = split_images(digits.select(torch.arange(2)), digits.select(torch.arange(2, 40)))
    assert split.retain is not None
    nearest = float(distances(split.retain.images, split.forget.images).min())
    assert retained_distance(split) == pytest.approx(nearest / 2)


def test_without_retained_images_samples_of_the_original_model_say_what_is_a_copy() -> None:
    images = protocol(4, None)
    assert retained_distance(images.split) is None
    between = np.array([[4.0, 9.0], [5.0, 7.0], [6.0, 8.0]])
    seen = {"baseline": {SAMPLES: {NEAR: {"distances": between}}}}
    assert images.copy_distance(seen) == copy_distance(torch.from_numpy(between))


def test_samples_that_were_not_kept_are_the_same_when_drawn_again(
    tiny_unet, tmp_path: Path
) -> None:
    subject = Subject(denoiser=tiny_unet(conditional=False), sampler=MultiStep(2), digest="model")
    images, store = protocol(4), Store(tmp_path)
    images = replace(
        images, split=Split(forget=load_images("digits", "test").select(torch.arange(2)))
    )
    samples = images.samples()[SAMPLES]
    kept = observe(samples.drawn_from(subject, 5), samples.observers, store, "sampling")
    drawn = {NEAR: kept[NEAR]}
    shown = [images.shown({SAMPLES: own}, subject, [4, 1], store) for own in (kept, drawn)]
    assert torch.equal(*shown)
