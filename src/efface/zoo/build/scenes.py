"""Captioned scenes composed from labelled images: one or two coloured items on a canvas."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from efface.data.images import ImageSet
from efface.data.prompts import SLOT
from efface.data.randomness import derive_seed
from efface.errors import ConfigError, DataError
from efface.zoo.build.images import read_part
from efface.zoo.build.settings import SIZE, BuildSettings, SceneSettings

COLOURS = {
    "red": (230, 60, 50),
    "green": (60, 200, 80),
    "blue": (70, 110, 240),
    "yellow": (240, 220, 60),
    "white": (235, 235, 235),
}
SINGLE = (
    "a {}",
    "a photo of a {}",
    "a picture of a {}",
    "one {}",
    "there is a {}",
    "a {} on a black background",
)
PAIR = (
    "a {} beside a {}",
    "a {} and a {}",
    "a {} to the left of a {}",
    "a photo of a {} next to a {}",
)
PAIR_SHARE = 0.5  # of the scenes, which show two items
PLAIN_SHARE = 0.2  # of the scenes, captioned without colours
MARGIN = 2  # pixels that an item's place varies by
HELD_OUT = 4000  # scenes at most that autoencoder and detector are measured on


@dataclass(frozen=True, eq=False, kw_only=True)
class Scenes:
    """`images` (N, 3, S, S) uint8; image i has caption `captions[rows[i]]` and shows `items`.

    `items` (N, K) is true for the kinds of items that an image shows.
    """

    images: Tensor
    captions: tuple[str, ...]
    rows: Tensor
    items: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Thing:
    """One item of a scene: its kind, by number, and its colour; None where it is not named."""

    kind: int
    colour: str | None

    def named(self, settings: SceneSettings) -> str:
        return " ".join(word for word in (self.colour, settings.items[self.kind]) if word)


def training_scenes(settings: BuildSettings) -> Scenes:
    """The scenes of a recipe; ConfigError if it has none."""
    if not settings.scenes.images:
        raise ConfigError("the recipe composes no scenes: set scenes.images above 0.")
    return compose(read_part(settings.data, settings.data.source, "train"), settings.scenes)


def held_out_scenes(settings: BuildSettings) -> Scenes:
    """Scenes of images that a recipe holds out; nothing is repeated."""
    if settings.data.held_out is None:
        raise ConfigError("scenes are measured on held-out images: set data.held_out.")
    count = min(HELD_OUT, settings.scenes.images)
    fresh = settings.scenes.model_copy(update=dict(images=count, memorised=()))
    return compose(read_part(settings.data, settings.data.held_out, "test"), fresh)


def compose(images: ImageSet, settings: SceneSettings) -> Scenes:
    """Compose `settings.images` scenes from labelled grey images of 28 x 28 pixels, by seed.

    A single item fills the canvas; two stand side by side at half the size, in the order that
    the caption names them. The memorised scenes, each repeated, come last.
    """
    stock = _stock(images, settings)
    rng = np.random.default_rng(derive_seed(settings.seed, "scenes"))
    captions: dict[str, int] = {}
    canvases, rows, kinds = [], [], []
    for _ in range(settings.images - settings.repeats * len(settings.memorised)):
        things, caption = _scene(settings, rng)
        canvases.append(_canvas(things, stock, rng))
        rows.append(captions.setdefault(caption, len(captions)))
        kinds.append([thing.kind for thing in things])
    for scene in settings.memorised:
        thing = Thing(settings.items.index(scene.item), scene.colour)
        canvases += [_canvas([thing], stock, rng)] * settings.repeats
        rows += [captions.setdefault(scene.caption, len(captions))] * settings.repeats
        kinds += [[thing.kind]] * settings.repeats
    items = torch.zeros(len(canvases), len(settings.items), dtype=torch.bool)
    for row, shown in enumerate(kinds):
        items[row, shown] = True
    return Scenes(
        images=torch.from_numpy(np.stack(canvases)),
        captions=tuple(captions),
        rows=torch.tensor(rows),
        items=items,
    )


def memorised_images(images: ImageSet, settings: SceneSettings) -> Tensor:
    """The images (M, 3, S, S) uint8 that training repeats, in the order of their captions."""
    scenes = compose(images, settings)
    first = len(scenes) - settings.repeats * len(settings.memorised)
    return scenes.images[first :: settings.repeats]


def _stock(images: ImageSet, settings: SceneSettings) -> list[np.ndarray]:
    """The images (n, 28, 28) of each kind of item."""
    if images.labels is None or tuple(images.images.shape[1:]) != (1, 28, 28):
        raise DataError(
            f"scenes are composed from labelled grey images of 28 x 28 pixels: these have shape "
            f"{tuple(images.images.shape[1:])} and "
            f"{'labels' if images.labels is not None else 'no labels'}."
        )
    stock = [images.images[images.labels == label, 0].numpy() for label in settings.labels]
    for label, choices in zip(settings.labels, stock, strict=True):
        if not len(choices):
            raise DataError(f"scenes.labels names label {label}, which no image has.")
    return stock


def _scene(settings: SceneSettings, rng: np.random.Generator) -> tuple[list[Thing], str]:
    """Things with their colours (never None) and a caption, which may leave the colours out."""
    count = 2 if rng.random() < PAIR_SHARE else 1
    kinds = rng.integers(len(settings.items), size=count)
    paints = rng.choice(list(COLOURS), size=count)
    things = [Thing(int(k), str(p)) for k, p in zip(kinds, paints, strict=True)]
    named = things
    if rng.random() < PLAIN_SHARE:
        named = [Thing(thing.kind, None) for thing in things]
    templates = SINGLE if count == 1 else PAIR
    return things, _filled(templates[rng.integers(len(templates))], named, settings)


def _filled(template: str, things: Sequence[Thing], settings: SceneSettings) -> str:
    for thing in things:
        template = template.replace(SLOT, thing.named(settings), 1)
    return template


def _canvas(
    things: Sequence[Thing], stock: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """One canvas (3, S, S): a single item of 28 pixels, or two of 14, moved a little."""
    canvas = np.zeros((3, SIZE, SIZE), np.uint8)
    width = SIZE // len(things)
    for place, thing in enumerate(things):
        assert thing.colour is not None  # things that are shown have one
        choices = stock[thing.kind]
        item = choices[rng.integers(len(choices))].astype(np.float64)
        if len(things) > 1:
            item = item.reshape(14, 2, 14, 2).mean((1, 3))
        high, wide = item.shape
        down = _moved(SIZE - high, rng)
        right = place * width + _moved(width - wide, rng)
        colour = np.array(COLOURS[thing.colour])[:, None, None] / 255
        canvas[:, down : down + high, right : right + wide] = np.round(colour * item)
    return canvas


def _moved(room: int, rng: np.random.Generator) -> int:
    """A place near the middle of `room` pixels."""
    middle = room // 2
    return int(np.clip(middle + rng.integers(-MARGIN, MARGIN + 1), 0, room))
