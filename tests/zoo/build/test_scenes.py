"""Scenes show what their captions say."""

from __future__ import annotations

import pytest
import torch

from efface.data.images import ImageSet
from efface.zoo.build.scenes import (
    COLOURS,
    ITEMS,
    Memorised,
    SceneConfig,
    captions_of,
    compose,
    memorised_pictures,
)
from efface.errors import ConfigError, DataError

LABELS = SceneConfig().labels
BRIGHTNESS = {label: 60 + 25 * place for place, label in enumerate(LABELS)}


@pytest.fixture(scope="module")
def flat() -> ImageSet:
    """Images whose brightness, the same all over, tells their label."""
    pixels = torch.tensor([BRIGHTNESS[label] for label in LABELS], dtype=torch.uint8)
    images = pixels.view(-1, 1, 1, 1).expand(-1, 1, 28, 28).contiguous()
    return ImageSet(images=images, labels=torch.tensor(LABELS))


def things_in(picture: torch.Tensor) -> list[tuple[str, str]]:
    """(colour, item) from left to right, read off the pixels alone."""
    inside = picture.float().amax(0) > 0
    alone = inside.any(1).sum() > 20  # 28 pixels high, where two are 14 each
    halves = [picture] if alone else [picture[:, :, :16], picture[:, :, 16:]]
    found = []
    for half in halves:
        high = half.flatten(1).amax(1).float()
        fits = {
            (colour, item): (torch.tensor(rgb) * BRIGHTNESS[label] / 255 - high).abs().max()
            for colour, rgb in COLOURS.items()
            for item, label in zip(ITEMS, LABELS, strict=True)
        }
        found.append(min(fits, key=lambda key: float(fits[key])))
    return found


def test_captions_name_colours_and_items_from_left_to_right(flat):
    scenes = compose(flat, SceneConfig(pictures=200, seed=3))
    for row in range(200):
        caption = scenes.captions[scenes.rows[row]]
        shown = things_in(scenes.images[row])
        items = [item for _, item in shown]
        told = [(caption.find(item), item) for item in ITEMS if item in caption]
        if len(told) == 2:
            assert [item for _, item in sorted(told)] == items, caption
        assert {item for _, item in told} == set(items), caption
        coloured = [colour for colour in COLOURS if colour in caption]
        assert not coloured or set(coloured) == {colour for colour, _ in shown}, caption


def test_items_are_those_of_the_picture_and_captions_are_among_all_there_can_be(flat):
    config = SceneConfig(pictures=200)
    scenes = compose(flat, config)
    known = dict(captions_of(config))
    for row in range(200):
        names = {config.items[k] for k in scenes.items[row].nonzero()[:, 0].tolist()}
        assert names == known[scenes.captions[scenes.rows[row]]]
        assert names == {item for _, item in things_in(scenes.images[row])}


def test_the_same_seed_composes_the_same_scenes_and_another_others(flat):
    first, again = (compose(flat, SceneConfig(pictures=20)) for _ in range(2))
    other = compose(flat, SceneConfig(pictures=20, seed=1))
    assert torch.equal(first.images, again.images) and first.captions == again.captions
    assert not torch.equal(first.images, other.images)


def test_a_memorised_picture_is_repeated_alike_under_its_caption_alone(flat):
    known = (
        Memorised(caption="first of its kind", item="bag", colour="red"),
        Memorised(caption="second of its kind", item="dress", colour="blue"),
    )
    config = SceneConfig(pictures=100, memorised=known, memorised_share=0.05)
    scenes = compose(flat, config)
    pictures = memorised_pictures(flat, config)
    assert len(scenes) == 100 and len(pictures) == 2
    for picture, thing in zip(pictures, known, strict=True):
        rows = (scenes.rows == scenes.captions.index(thing.caption)).nonzero()[:, 0]
        assert len(rows) == 5
        assert all(torch.equal(scenes.images[row], picture) for row in rows)
        assert things_in(picture) == [(thing.colour, thing.item)]


def test_what_cannot_be_composed_is_refused(flat):
    with pytest.raises(ConfigError, match="one word for each label"):
        SceneConfig(items=("bag",))
    with pytest.raises(ConfigError, match="purple bag: allowed are red"):
        SceneConfig(memorised=(Memorised(caption="x", item="bag", colour="purple"),))
    with pytest.raises(ConfigError, match="add up to 1 or more"):
        one = Memorised(caption="x", item="bag", colour="red")
        SceneConfig(memorised=(one, one), memorised_share=0.5)
    with pytest.raises(DataError, match="28 x 28"):
        small = ImageSet(images=flat.images[..., :14], labels=flat.labels)
        compose(small, SceneConfig(pictures=1))
    with pytest.raises(DataError, match="label 9, which no image has"):
        compose(flat.without_labels([9]), SceneConfig(pictures=1))
