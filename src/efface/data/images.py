"""Images from scikit-learn's digits, a folder, parquet or the hub, as uint8 tensors."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from efface.data.tables import HUB, encoded_images, labels_of, read_table
from efface.diffusion.model_folder import ZOO
from efface.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
DIGITS_HELD_OUT = 450  # of 1797


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """`images` (N, C, H, W) uint8, `labels` (N,) int64 or None; names where they are known."""

    images: Tensor
    labels: Tensor | None
    label_names: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # of the images: their files

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: Tensor) -> ImageSet:
        labels = None if self.labels is None else self.labels[rows]
        where = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        names = tuple(self.names[i] for i in where.tolist()) if self.names else ()
        return replace(self, images=self.images[rows], labels=labels, names=names)

    def without_labels(self, labels: Sequence[int]) -> ImageSet:
        if not labels:
            return self
        if self.labels is None:
            raise DataError("labels can be left out only of labelled images: these have none.")
        return self.select(~torch.isin(self.labels, torch.tensor(labels)))

    def with_copies(self, added: ImageSet, copies: int) -> ImageSet:
        """These images without labels, and after them every added one `copies` times."""
        if self.images.shape[1:] != added.images.shape[1:]:
            raise DataError(
                f"the added images have shape {tuple(added.images.shape[1:])} and the others "
                f"{tuple(self.images.shape[1:])}: give images of one shape."
            )
        repeated = added.images.repeat_interleave(copies, 0)
        return ImageSet(images=torch.cat([self.images, repeated]), labels=None)

    def mean_pooled(self, factor: int) -> ImageSet:
        """Averages of `factor` x `factor` pixels, rounded to uint8."""
        if factor == 1:
            return self
        pooled = torch.nn.functional.avg_pool2d(self.images.float(), factor)
        return replace(self, images=pooled.round().to(torch.uint8))


def join_images(sets: Sequence[ImageSet]) -> ImageSet:
    """The images of several sets of one shape, without labels."""
    if len(sets) == 1:
        return sets[0]
    names = tuple(name for one in sets for name in one.names)
    return ImageSet(images=torch.cat([one.images for one in sets]), labels=None, names=names)


def load_images(source: str, split: str = "train", size: int | None = None) -> ImageSet:
    """Read `digits`, an image folder (labels from its subfolders), a parquet file or a data set.

    `zoo:NAME` is a folder of images that ships with efface, as zoo:symbol; `datasets:OWNER/NAME` a
    data set of the hub with columns `image` and perhaps `label`. "#" and row numbers from 0, as in
    FILE.parquet#1 or FILE.parquet#0-8399,8500, take those alone.

    `split` is `train` or `test` and matters for `digits` and data sets of the hub. `size` resizes
    to squares, needed where a folder's images differ in size. Raises DataError.
    """
    source, wanted = _parted(source)
    if source.startswith(HUB) or (source.endswith(".parquet") and Path(source).is_file()):
        return _table(source, split, wanted, size)
    images = _whole(source, split, size)
    return images if wanted is None else images.select(_rows(wanted, len(images), source))


def read_at(
    source: str,
    shape: tuple[int, int, int],
    split: str = "train",
    *,
    resize: bool = False,
    mean_pool: int = 1,
) -> ImageSet:
    """Images of a model's `shape` (C, H, W); resized and recoloured only with `resize`.

    Every image has a name. DataError for images of another shape.
    """
    channels, size, _ = shape
    images = load_images(source, split, size * mean_pool if resize else None).mean_pooled(mean_pool)
    found = tuple(images.images.shape[1:])
    if resize and found[0] != channels:
        images = _recoloured(images, channels)
    elif found != shape:
        raise DataError(
            f"{source} holds images of shape {found} (channels, height, width) and the model "
            f"generates {shape}: convert them, or add --set images.resize=true."
        )
    names = images.names or tuple(f"image {i}" for i in range(len(images)))
    return replace(images, names=names)


def _recoloured(images: ImageSet, channels: int) -> ImageSet:
    pixels = images.images
    if channels == 1:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601
        pixels = (pixels.float() * weights).sum(1, keepdim=True).round().byte()
    else:
        pixels = pixels.expand(-1, channels, -1, -1).contiguous()
    return replace(images, images=pixels)


def to_model(images: Tensor) -> Tensor:
    """Pixels (N, C, H, W) uint8 to model space, -1 to 1."""
    return images.float() / 127.5 - 1


def check_source(source: str) -> None:
    """Raise DataError where there is nothing that `load_images` could read, without reading it."""
    place, _ = _parted(source)
    named = place == "digits" or place.startswith((HUB, "zoo:"))
    if not named and not os.path.exists(place):
        raise _nothing_at(source)


def _parted(source: str) -> tuple[str, str | None]:
    """A source and the rows of it behind "#", None for all of them."""
    before, mark, rows = source.rpartition("#")
    if not mark or os.path.exists(source):  # long names raise in Path
        return source, None
    return before, rows


def _whole(source: str, split: str, size: int | None) -> ImageSet:
    if source == "digits":
        return _digits(split)
    path = Path(source)
    if source.startswith("zoo:") and source.removeprefix("zoo:").isalnum():
        path = ZOO / source.removeprefix("zoo:")
    if path.is_dir():
        return _image_folder(path, size)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        image = _decode(path.read_bytes(), source, size)
        return ImageSet(images=image[None], labels=None, names=(path.name,))
    raise _nothing_at(source)


def _nothing_at(source: str) -> DataError:
    return DataError(
        f"no images at {source}: give 'digits', a folder of images, an image, a .parquet file "
        f"or {HUB}OWNER/NAME."
    )


def _rows(text: str, count: int, source: str) -> Tensor:
    """Row numbers out of "3,10-20"; DataError for what is no such list or not there."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if re.fullmatch(r"[0-9]{1,9}(-[0-9]{1,9})?", part) is None:
            raise DataError(
                f"{source} ends in {text!r}, which names no rows: write numbers and ranges, as "
                "#1 or #0-99,250."
            )
        if int(last or first) >= count:
            raise DataError(f"{source} names row {last or first}: there are rows 0 to {count - 1}.")
        numbers += range(int(first), int(last or first) + 1)
    if not numbers:
        raise DataError(f"{source} names no row: a range goes from the smaller to the larger.")
    return torch.tensor(numbers)


def _digits(split: str) -> ImageSet:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if split not in ("train", "test"):
        raise DataError(f"split {split!r} is unknown: digits have 'train' and 'test'.")
    digits: Any = load_digits()
    train, test = train_test_split(
        np.arange(len(digits.target)),
        test_size=DIGITS_HELD_OUT,
        random_state=0,
        stratify=digits.target,
    )
    rows = np.sort(train if split == "train" else test)
    images = np.round(digits.images[rows] * (255 / 16)).astype(np.uint8)[:, None]
    labels = torch.from_numpy(digits.target[rows].astype(np.int64))
    names = tuple(str(i) for i in range(10))
    return ImageSet(images=torch.from_numpy(images), labels=labels, label_names=names)


def _image_folder(folder: Path, size: int | None) -> ImageSet:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(f"{folder} holds no images: allowed are {', '.join(IMAGE_SUFFIXES)} files.")
    images = _stack([_decode(p.read_bytes(), str(p), size) for p in files], str(folder))
    parents = [p.parent.relative_to(folder).as_posix() for p in files]
    own = tuple(p.relative_to(folder).as_posix() for p in files)
    names = tuple(sorted(set(parents)))
    if names == (".",):
        return ImageSet(images=images, labels=None, names=own)
    labels = torch.tensor([names.index(parent) for parent in parents])
    return ImageSet(images=images, labels=labels, label_names=names, names=own)


def _table(source: str, split: str, wanted: str | None, size: int | None) -> ImageSet:
    """Images of a table with columns `image` and perhaps `label`, of the rows `wanted` alone."""
    table = read_table(source, split)
    if wanted is not None:
        table = table.select(_rows(wanted, len(table), source).tolist())
    contents = encoded_images(table)
    decoded = [_decode(content, f"{source} row {i}", size) for i, content in enumerate(contents)]
    labels, names = labels_of(table, source)
    known = None if labels is None else torch.tensor(labels)
    return ImageSet(images=_stack(decoded, source), labels=known, label_names=names)


def _decode(content: bytes, name: str, size: int | None) -> Tensor:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode in ("I", "F"):
                raise DataError(f"{name} has pixels of mode {image.mode}: convert it to 8 bits.")
            if image.mode.startswith("I;16"):
                # Pillow's own conversion cuts off all above 255.
                image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
            image = image.convert("L" if image.mode in ("1", "L") else "RGB")
            if size is not None and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.LANCZOS)
            pixels = np.array(image)
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,  # what Pillow calls a broken PNG
        Image.DecompressionBombError,
    ) as error:
        raise DataError(f"{name} is no readable image: remove or replace it.") from error
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())


def _stack(images: list[Tensor], name: str) -> Tensor:
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        first, second, *_ = sorted(shapes)
        raise DataError(
            f"{name} holds images of several shapes, {first} and {second} (channels, height, "
            "width) among them: give a size, or convert them to one shape."
        )
    return torch.stack(images)
