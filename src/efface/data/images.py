"""Images from scikit-learn's digits, a folder, parquet or the hub, as uint8 tensors."""

import functools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from efface.data.image_files import (
    AS_IS,
    BACKGROUND,
    NoImageError,
    Reading,
    decode,
    natural,
    stack,
    table_files,
    walk,
)
from efface.data.tables import HUB, encoded_images, labels_of, read_table
from efface.diffusion.places import ZOO
from efface.errors import DataError
from efface.progress import note

DIGITS_HELD_OUT = 450  # of 1797
LISTED = 40  # names in a line, at most


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """`images` (N, C, H, W) uint8, `labels` (N,) int64 or None; names where they are known."""

    images: Tensor
    labels: Tensor | None
    label_names: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # of the images: their files
    remarks: tuple[str, ...] = ()  # on how they were read

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: Tensor) -> "ImageSet":
        labels = None if self.labels is None else self.labels[rows]
        where = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        names = tuple(self.names[i] for i in where.tolist()) if self.names else ()
        return replace(self, images=self.images[rows], labels=labels, names=names)

    def without_labels(self, labels: Sequence[int]) -> "ImageSet":
        if not labels:
            return self
        if self.labels is None:
            raise DataError("labels can be left out only of labelled images: these have none.")
        return self.select(~torch.isin(self.labels, torch.tensor(labels)))

    def with_copies(self, added: "ImageSet", copies: int) -> "ImageSet":
        """These images without labels, and after them every added one `copies` times."""
        if self.images.shape[1:] != added.images.shape[1:]:
            raise DataError(
                f"the added images have shape {tuple(added.images.shape[1:])} and the others "
                f"{tuple(self.images.shape[1:])}: give images of one shape."
            )
        repeated = added.images.repeat_interleave(copies, 0)
        return ImageSet(images=torch.cat([self.images, repeated]), labels=None)

    def mean_pooled(self, factor: int) -> "ImageSet":
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


def load_images(
    source: str, split: str = "train", size: int | None = None, how: Reading = AS_IS
) -> ImageSet:
    """Read `digits`, images of a folder (labels from its subfolders), an image or a table.

    `zoo:NAME` is a folder of images that ships with efface, as zoo:symbol; a table is a parquet
    file, a folder of them, or `datasets:OWNER/NAME` of the hub. "#" and row numbers from 0, as in
    FILE.parquet#1 or FILE.parquet#0-8399,8500, take those alone. Columns are chosen by
    FILE.parquet?image=NAME&label=NAME, before the rows.

    `split` is `train` or `test` and matters for `digits`, folders of parquet and the hub. `size`
    makes squares, needed where a folder's images differ in size. One line says what was read from
    files. Raises DataError.
    """
    how = how if size is None else replace(how, size=(size, size))
    source, wanted = _parted(source)
    given = source
    source, how = _with_columns(source, how)
    files = [] if source == "digits" else table_files(source)
    if not files and not source.startswith(HUB) and source != given:
        raise DataError(f"{source} is no table, and {given!r} names columns: leave them out.")
    if files or source.startswith(HUB):
        images = _table(source, files, split, wanted, how)
    else:
        images = _whole(source, split, how)
        images = images if wanted is None else images.select(_rows(wanted, len(images), source))
    if source != "digits" and not source.startswith("zoo:"):
        note(_read(source, images))
    return images


def _read(source: str, images: ImageSet) -> str:
    """A line on what was read."""
    labels = "no labels"
    if images.label_names:
        labels = f"labels {listed(f'{i} = {name}' for i, name in enumerate(images.label_names))}"
    elif images.labels is not None:
        labels = f"labels up to {int(images.labels.max())}"
    return "; ".join([f"images read from {source}: {len(images)}", labels, *images.remarks])


def listed(names: Iterable[str]) -> str:
    """Names in a row; the middle of many is left out."""
    given = list(names)
    return ", ".join(given if len(given) <= LISTED else [*given[: LISTED - 1], "...", given[-1]])


def read_at(
    source: str,
    shape: tuple[int, int, int],
    split: str = "train",
    *,
    resize: bool | Literal["squash"] = False,
    mean_pool: int = 1,
    how: Reading = AS_IS,
) -> ImageSet:
    """Images of a model's `shape` (C, H, W); resized and recoloured only with `resize`.

    Every image has a name. DataError for images of another shape.
    """
    channels, height, width = shape
    size = (width * mean_pool, height * mean_pool) if resize else None
    how = replace(how, size=size, squash=resize == "squash")
    images = load_images(source, split, how=how).mean_pooled(mean_pool)
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
    place, _ = _with_columns(_parted(source)[0], AS_IS)
    named = place == "digits" or place.startswith((HUB, "zoo:"))
    if not named and not os.path.exists(place):
        raise _nothing_at(source)


def _parted(source: str) -> tuple[str, str | None]:
    """A source and the rows of it behind "#", None for all of them."""
    before, mark, rows = source.rpartition("#")
    if not mark or os.path.exists(source):  # long names raise in Path
        return source, None
    return before, rows


def _with_columns(source: str, how: Reading) -> tuple[str, Reading]:
    """A source without the columns that are named behind "?", and how to read it with them."""
    place, mark, names = source.partition("?")
    if not mark or os.path.exists(source):
        return source, how
    parts = [part.partition("=") for part in names.split("&")]
    if not {part for part, _, _ in parts} <= {"image", "label"}:
        raise DataError(
            f"{source} names no columns after '?': append ?image=NAME, ?label=NAME, or both joined "
            "by &."
        )
    chosen: dict[str, Any] = {f"{part}_column": name for part, _, name in parts}
    return place, replace(how, **chosen)


def _whole(source: str, split: str, how: Reading) -> ImageSet:
    if source == "digits":
        return _digits(split)
    path = Path(source)
    if source.startswith("zoo:") and source.removeprefix("zoo:").isalnum():
        path = ZOO / source.removeprefix("zoo:")
    if os.path.isdir(path):  # unlike Path's, for names of any length
        return _image_folder(path, how)
    if not os.path.isfile(path):
        raise _nothing_at(source)
    try:
        image, opaque = decode(path, source, how)
    except NoImageError:
        raise _nothing_at(source) from None
    remarks = _remarks([opaque])
    return ImageSet(images=image[None], labels=None, names=(path.name,), remarks=remarks)


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


@functools.cache
def _all_digits() -> Any:
    from sklearn.datasets import load_digits

    return load_digits()


def _digits(split: str) -> ImageSet:
    from sklearn.model_selection import train_test_split

    if split not in ("train", "test"):
        raise DataError(f"split {split!r} is unknown: digits have 'train' and 'test'.")
    digits = _all_digits()
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


def _image_folder(folder: Path, how: Reading) -> ImageSet:
    decoded: dict[Path, tuple[Tensor, bool]] = {}
    skipped: list[str] = []
    for path, why in walk(folder):
        try:
            if why is None:
                decoded[path.relative_to(folder)] = decode(path, str(path), how)
        except NoImageError:
            why = "no image"
        if why is not None:
            skipped.append(f"{path.relative_to(folder)} ({why})")
    if skipped and (how.complete or not decoded):
        raise DataError(
            f"{folder} holds {'' if decoded else 'no images but '}{listed(skipped)}: take out what "
            "is no image, or begin its name with a dot."
        )
    if not decoded:
        raise DataError(f"{folder} holds no images: give a folder with files that Pillow reads.")
    remarks = _remarks([opaque for _, opaque in decoded.values()])
    own = [path.as_posix().encode(errors="replace").decode() for path in decoded]
    parents = [name.rpartition("/")[0] for name in own]
    names = tuple(sorted(set(parents), key=natural))
    named = "" not in names  # nothing tells the label of an image beside subfolders
    return ImageSet(
        images=stack([image for image, _ in decoded.values()], str(folder)),
        labels=torch.tensor([names.index(parent) for parent in parents]) if named else None,
        label_names=names if named else (),
        names=tuple(own),
        remarks=(*remarks, *([f"skipped {listed(skipped)}"] if skipped else [])),
    )


def _remarks(opaque: list[bool]) -> tuple[str, ...]:
    count = opaque.count(False)
    return (f"{count} with transparent parts, on {BACKGROUND}",) if count else ()


def _table(source: str, files: list[str], split: str, wanted: str | None, how: Reading) -> ImageSet:
    """Images of a table, of the rows `wanted` alone; labels where it has them."""
    table, column, label = read_table(source, files, split, how)
    rows = range(len(table)) if wanted is None else _rows(wanted, len(table), source).tolist()
    table = table.select(rows)
    decoded = [
        decode(content, f"{source} row {row}", how)
        for row, content in zip(rows, encoded_images(table[column]), strict=True)
    ]
    labels, names = labels_of(table, label, source)
    chosen = column if label is None else f"{column} and {label}"
    read = f"columns read: {chosen} of {', '.join(table.column_names)}"
    return ImageSet(
        images=stack([image for image, _ in decoded], source),
        labels=None if labels is None else torch.tensor(labels),
        label_names=names,
        remarks=(read, *_remarks([opaque for _, opaque in decoded])),
    )
