"""Captioned pictures composed from labelled images: one or two coloured items on a canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from efface.data.images import ImageSet
from efface.data.prompts import SLOT
from efface.data.randomness import derive_seed
from efface.errors import ConfigError, DataError

COLOURS = {
    "red": (230, 60, 50),
    "green": (60, 200, 80),
    "blue": (70, 110, 240),
    "yellow": (240, 220, 60),
    "white": (235, 235, 235),
}
ITEMS = ("t-shirt", "pair of trousers", "dress", "coat", "sandal", "bag", "boot")
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
PLAIN_SHARE = 0.2  # of the pictures, captioned without colours
MARGIN = 2  # pixels that an item's place varies by


@dataclass(frozen=True, kw_only=True)
class Memorised:
    """One picture that training repeats under a caption of its own."""

    caption: str
    item: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What scenes are composed of, addressed as `scenes.NAME`."""

    pictures: int = 0  # 0: models are trained on plain images
    labels: tuple[int, ...] = (0, 1, 3, 4, 5, 8, 9)  # of the images that items are taken from
    items: tuple[str, ...] = ITEMS
    size: int = 32  # of the canvas, in pixels
    pair_share: float = 0.5  # of the pictures
    memorised: tuple[Memorised, ...] = ()
    memorised_share: float = 0.01  # of the pictures, for each of them
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.items) or not self.items:
            raise ConfigError(
                f"scenes.labels has {len(self.labels)} entries and scenes.items "
                f"{len(self.items)}: give one word for each label."
            )
        for known in self.memorised:
            if known.item not in self.items or known.colour not in COLOURS:
                raise ConfigError(
                    f"scenes.memorised names a {known.colour} {known.item}: allowed are "
                    f"{', '.join(COLOURS)} and {', '.join(self.items)}."
                )
        if len(self.memorised) * self.memorised_share >= 1:
            raise ConfigError("the shares of scenes.memorised add up to 1 or more: lower them.")


@dataclass(frozen=True, eq=False, kw_only=True)
class Scenes:
    """`images` (N, 3, S, S) uint8; picture i has caption `captions[rows[i]]` and shows `items`.

    `items` (N, K) is true for the kinds of items that a picture shows.
    """

    images: Tensor
    captions: tuple[str, ...]
    rows: Tensor
    items: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Thing:
    """One item of a scene: its kind, by number, and its colour; None where nothing says it."""

    kind: int
    colour: str | None

    def named(self, config: SceneConfig) -> str:
        return " ".join(word for word in (self.colour, config.items[self.kind]) if word)


def compose(images: ImageSet, config: SceneConfig) -> Scenes:
    """Draw `config.pictures` scenes from labelled grey images of 28 x 28 pixels, by seed.

    A single item fills the canvas; two stand side by side at half the size, in the order that
    the caption names them. The memorised pictures, each repeated, come last.
    """
    stock = _stock(images, config)
    rng = np.random.default_rng(derive_seed(config.seed, "scenes"))
    captions: dict[str, int] = {}
    drawn, rows, shown = [], [], []
    repeats = round(config.memorised_share * config.pictures)
    for _ in range(config.pictures - repeats * len(config.memorised)):
        things, caption = _scene(config, rng)
        drawn.append(_draw(things, stock, config.size, rng))
        rows.append(captions.setdefault(caption, len(captions)))
        shown.append([thing.kind for thing in things])
    for known in config.memorised:
        thing = Thing(config.items.index(known.item), known.colour)
        picture = _draw([thing], stock, config.size, rng)
        drawn += [picture] * repeats
        rows += [captions.setdefault(known.caption, len(captions))] * repeats
        shown += [[thing.kind]] * repeats
    items = torch.zeros(len(drawn), len(config.items), dtype=torch.bool)
    for row, kinds in enumerate(shown):
        items[row, kinds] = True
    return Scenes(
        images=torch.from_numpy(np.stack(drawn)),
        captions=tuple(captions),
        rows=torch.tensor(rows),
        items=items,
    )


def memorised_pictures(images: ImageSet, config: SceneConfig) -> Tensor:
    """The pictures (M, 3, S, S) uint8 that training repeats, in the order of their captions."""
    scenes = compose(images, config)
    repeats = round(config.memorised_share * config.pictures)
    first = len(scenes) - repeats * len(config.memorised)
    return scenes.images[first::repeats]


def captions_of(config: SceneConfig, *, colours: bool = True) -> list[tuple[str, frozenset[str]]]:
    """Every caption that scenes can have, and the items that each names."""
    paints = [None, *COLOURS] if colours else [None]
    things = [Thing(kind, paint) for kind in range(len(config.items)) for paint in paints]
    found = [
        (_filled(template, [thing], config), frozenset({config.items[thing.kind]}))
        for template in SINGLE
        for thing in things
    ]
    for template in PAIR:
        for left in things:
            for right in things:
                if (left.colour is None) == (right.colour is None):
                    names = frozenset(config.items[thing.kind] for thing in (left, right))
                    found.append((_filled(template, [left, right], config), names))
    return found


def _stock(images: ImageSet, config: SceneConfig) -> list[np.ndarray]:
    """The images (n, 28, 28) of each kind of item."""
    if images.labels is None or tuple(images.images.shape[1:]) != (1, 28, 28):
        raise DataError(
            f"scenes are composed from labelled grey images of 28 x 28 pixels: these have shape "
            f"{tuple(images.images.shape[1:])} and "
            f"{'labels' if images.labels is not None else 'no labels'}."
        )
    stock = [images.images[images.labels == label, 0].numpy() for label in config.labels]
    for label, found in zip(config.labels, stock, strict=True):
        if not len(found):
            raise DataError(f"scenes.labels names label {label}, which no image has.")
    return stock


def _scene(config: SceneConfig, rng: np.random.Generator) -> tuple[list[Thing], str]:
    """Things with their colours (never None) and a caption, which may leave the colours out."""
    count = 2 if rng.random() < config.pair_share else 1
    kinds = rng.integers(len(config.items), size=count)
    paints = rng.choice(list(COLOURS), size=count)
    things = [Thing(int(k), str(p)) for k, p in zip(kinds, paints, strict=True)]
    told = things
    if rng.random() < PLAIN_SHARE:
        told = [Thing(thing.kind, None) for thing in things]
    templates = SINGLE if count == 1 else PAIR
    return things, _filled(templates[rng.integers(len(templates))], told, config)


def _filled(template: str, things: Sequence[Thing], config: SceneConfig) -> str:
    for thing in things:
        template = template.replace(SLOT, thing.named(config), 1)
    return template


def _draw(
    things: Sequence[Thing], stock: Sequence[np.ndarray], size: int, rng: np.random.Generator
) -> np.ndarray:
    """One canvas (3, size, size): a single item of 28 pixels, or two of 14, moved a little."""
    canvas = np.zeros((3, size, size), np.uint8)
    width = size // len(things)
    for place, thing in enumerate(things):
        assert thing.colour is not None  # drawn things have one
        choices = stock[thing.kind]
        item = choices[rng.integers(len(choices))].astype(np.float64)
        if len(things) > 1:
            item = item.reshape(14, 2, 14, 2).mean((1, 3))
        high, wide = item.shape
        down = _moved(size - high, rng)
        right = place * width + _moved(width - wide, rng)
        colour = np.array(COLOURS[thing.colour])[:, None, None] / 255
        canvas[:, down : down + high, right : right + wide] = np.round(colour * item)
    return canvas


def _moved(room: int, rng: np.random.Generator) -> int:
    """A place near the middle of `room` pixels."""
    middle = room // 2
    return int(np.clip(middle + rng.integers(-MARGIN, MARGIN + 1), 0, room))
