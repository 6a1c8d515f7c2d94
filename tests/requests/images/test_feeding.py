"""What a run that forgets images is fed with, and when it may stop."""

from __future__ import annotations

import pytest
import torch

from efface.data.images import ImageSet, load_images, to_model
from efface.data.randomness import Shard
from efface.data.split import Split, split_images
from efface.requests.images.feeding import STOP_MEASURES, counted_prior, pair_source, unseen_stopper
from efface.requests.images.request import ForgetImages
from efface.settings.base import Settings, read_settings


@pytest.fixture
def settings() -> Settings:
    changes = ["train.batch_size=8", "images.generate=12", "evaluate.baseline_steps=2"]
    return read_settings("images", ForgetImages.own, method="siss", changes=changes)


@pytest.fixture
def split() -> Split:
    """Two digits to forget, one of which is among the 20 retained ones as well."""
    digits = load_images("digits", "test")
    return split_images(digits.select(torch.arange(2)), digits.select(torch.arange(1, 21)))


def test_the_share_of_the_images_is_counted_where_copies_were_found(split: Split) -> None:
    """Two images and one copy, beside the 19 others."""
    assert (split.exact, split.near) == (1, 0)
    assert counted_prior(split) == pytest.approx(3 / (3 + 19))
    digits = load_images("digits", "test")
    assert (
        counted_prior(
            split_images(digits.select(torch.arange(2)), digits.select(torch.arange(2, 21)))
        )
        is None
    )
    assert counted_prior(Split(forget=digits.select(torch.arange(2)))) is None


def test_a_share_that_is_given_is_kept(tiny_unet, split: Split, settings: Settings) -> None:
    source, notes = pair_source(tiny_unet(conditional=False), split, 0.25, settings)
    assert source.bank.prior == notes["prior"] == 0.25
    assert (notes["exact_duplicates"], notes["near_duplicates"]) == (1, 0)
    batch = source.batch(0, Shard())
    assert batch.retain.size == 8 and batch.forget.size == 8
    forget = to_model(split.forget.images)
    assert all(any(torch.equal(x, image) for image in forget) for x in batch.forget.x0)


def test_images_that_are_not_retained_are_generated(tiny_unet, split: Split, settings) -> None:
    alone = Split(forget=split.forget)
    source, notes = pair_source(tiny_unet(conditional=False), alone, None, settings)
    dropped = notes["generated_copies_dropped"] + notes["generated_alike_dropped"]
    assert len(source.bank.retain) == notes["generated"] == 12 - dropped


@pytest.mark.parametrize("by", STOP_MEASURES)
def test_training_stops_where_images_are_predicted_as_unseen_ones(tiny_unet, by: str) -> None:
    """Of two equal sets neither is predicted better; an image of one value is, against noise."""
    denoiser = tiny_unet(conditional=False)
    digits: ImageSet = load_images("digits", "test")
    same = to_model(digits.images[:2])
    assert unseen_stopper(denoiser, same, same, by).check(denoiser) is not None
