"""What a run that forgets images is fed with, and when it may stop."""

from __future__ import annotations

import pytest
import torch

from efface.data.images import ImageSet, load_images, to_model
from efface.data.randomness import Shard
from efface.data.split import Split, copy_distance, distances, split_images
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import DataError
from efface.requests.images import feeding
from efface.requests.images.feeding import (
    STOP_MEASURES,
    counted_prior,
    generate_retained,
    pair_source,
)
from efface.requests.images.request import ForgetImages
from efface.settings.base import Settings, read_settings
from efface.training.guard import UnseenStopper


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
    assert UnseenStopper(STOP_MEASURES[by], [same], same).check(denoiser) is not None


def test_samples_near_an_image_to_forget_are_dropped(tiny_unet):
    denoiser = tiny_unet(conditional=False)
    seeds = range(feeding.GENERATED_SEED, feeding.GENERATED_SEED + 12)
    samples = (draw_images(denoiser, MultiStep(2), None, seeds) * 255).round().byte()
    found = generate_retained(denoiser, samples[:1], 12, 2)
    between = distances(samples, samples[:1])
    near = between[:, 0] < copy_distance(between, 0.8)
    assert near[0] and found.copies + found.alike == int(near.sum())
    assert torch.equal(found.images, samples[~near])


def test_a_model_that_generates_copies_alone_is_refused(tiny_unet, monkeypatch):
    constant = torch.full((4, 1, 8, 8), 0.5)
    monkeypatch.setattr(feeding, "draw_images", lambda *_, **__: constant)
    monkeypatch.setattr(feeding, "copy_distance", lambda *_: 1.0)
    with pytest.raises(DataError, match="--retain"):
        generate_retained(tiny_unet(conditional=False), (constant[:1] * 255).byte(), 4, 2)


def test_mirror_images_are_forgotten_where_the_model_was_trained_on_them(
    tiny_unet, split: Split, settings: Settings
) -> None:
    denoiser, forget = tiny_unet(conditional=False), to_model(split.forget.images)
    banks = {
        mirrored: pair_source(
            denoiser, split, None, settings.changed({"images.mirrored": mirrored})
        )[0].bank
        for mirrored in (False, True)
    }
    assert torch.equal(banks[False].forget, forget)
    assert torch.equal(banks[True].forget, torch.cat([forget, forget.flip(-1)]))
    assert len(banks[True].retain) == 2 * len(banks[False].retain)
    assert banks[True].prior == banks[False].prior


def test_mirrored_samples_of_an_image_are_not_retained(tiny_unet, monkeypatch):
    samples = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(feeding, "draw_images", lambda *_, **__: samples)
    pixels = (samples * 255).round().byte()
    found = generate_retained(tiny_unet(conditional=False), pixels[:1].flip(-1), 12, 2)
    assert found.copies == 1
    assert torch.equal(found.images[0], pixels[1])
