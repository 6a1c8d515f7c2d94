"""Scenes show what their captions say."""

from __future__ import annotations

import pytest
import torch

from efface.data.images import ImageSet
from efface.errors import DataError
from efface.zoo.build.scenes import COLOURS, compose, memorised_images
from efface.zoo.build.settings import MemorisedScene, SceneSettings

LABELS, ITEMS = SceneSettings().labels, SceneSettings().items
BRIGHTNESS = {label: 60 + 25 * place for place, label in enumerate(LABELS)}


@pytest.fixture(scope="module")
def flat() -> ImageSet:
    """Images whose brightness, the same all over, tells their label."""
    pixels = torch.tensor([BRIGHTNESS[label] for label in LABELS], dtype=torch.uint8)
    images = pixels.view(-1, 1, 1, 1).expand(-1, 1, 28, 28).contiguous()
    return ImageSet(images=images, labels=torch.tensor(LABELS))


def things_in(image: torch.Tensor) -> list[tuple[str, str]]:
    """(colour, item) from left to right, read off the pixels alone."""
    inside = image.float().amax(0) > 0
    single = inside.any(1).sum() > 20  # 28 pixels high, where two are 14 each
    halves = [image] if single else [image[:, :, :16], image[:, :, 16:]]
    things = []
    for half in halves:
        high = half.flatten(1).amax(1).float()
        fits = {
            (colour, item): (torch.tensor(rgb) * BRIGHTNESS[label] / 255 - high).abs().max()
            for colour, rgb in COLOURS.items()
            for item, label in zip(ITEMS, LABELS, strict=True)
        }
        things.append(min(fits, key=lambda key: float(fits[key])))
    return things


def test_captions_name_colours_and_items_from_left_to_right(flat):
    scenes = compose(flat, SceneSettings(images=200, seed=3))
    for row in range(200):
        caption = scenes.captions[scenes.rows[row]]
        shown = things_in(scenes.images[row])
        items = [item for _, item in shown]
        named = [(caption.find(item), item) for item in ITEMS if item in caption]
        if len(named) == 2:
            assert [item for _, item in sorted(named)] == items, caption
        assert {item for _, item in named} == set(items), caption
        coloured = [colour for colour in COLOURS if colour in caption]
        assert not coloured or set(coloured) == {colour for colour, _ in shown}, caption


def test_items_are_those_of_the_image_and_of_its_caption(flat):
    settings = SceneSettings(images=200)
    scenes = compose(flat, settings)
    for row in range(200):
        names = {settings.items[k] for k in scenes.items[row].nonzero()[:, 0].tolist()}
        caption = scenes.captions[scenes.rows[row]]
        assert names == {item for item in settings.items if item in caption}
        assert names == {item for _, item in things_in(scenes.images[row])}


def test_the_same_seed_composes_the_same_scenes_and_another_others(flat):
    first, again = (compose(flat, SceneSettings(images=20)) for _ in range(2))
    other = compose(flat, SceneSettings(images=20, seed=1))
    assert torch.equal(first.images, again.images) and first.captions == again.captions
    assert not torch.equal(first.images, other.images)


def test_a_memorised_scene_is_repeated_unchanged_under_its_caption_alone(flat):
    memorised = (
        MemorisedScene(caption="first of its kind", item="bag", colour="red"),
        MemorisedScene(caption="second of its kind", item="dress", colour="blue"),
    )
    settings = SceneSettings(images=100, memorised=memorised, memorised_share=0.05)
    scenes = compose(flat, settings)
    images = memorised_images(flat, settings)
    assert len(scenes) == 100 and len(images) == 2
    for image, scene in zip(images, memorised, strict=True):
        rows = (scenes.rows == scenes.captions.index(scene.caption)).nonzero()[:, 0]
        assert len(rows) == 5
        assert all(torch.equal(scenes.images[row], image) for row in rows)
        assert things_in(image) == [(scene.colour, scene.item)]


def test_images_that_cannot_be_composed_are_refused(flat):
    with pytest.raises(DataError, match="28 x 28"):
        small = ImageSet(images=flat.images[..., :14], labels=flat.labels)
        compose(small, SceneSettings(images=1))
    with pytest.raises(DataError, match="label 9, which no image has"):
        compose(flat.without_labels([9]), SceneSettings(images=1))
