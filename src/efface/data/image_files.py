"""Image files: what a folder holds, and an image's pixels. Whatever Pillow reads, by content."""

import contextlib
import io
import os
import re
import stat
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from efface.errors import DataError

BACKGROUND = "white"  # of what is transparent
# What Pillow raises for broken files, depending on their format.
BROKEN = (OSError, ValueError, SyntaxError, LookupError, RuntimeError, EOFError, TypeError)
BROKEN += (ArithmeticError, AttributeError, struct.error)


class NoImageError(DataError):
    """A file is no image, nor does its name end as those of images do."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How images are read from files and tables."""

    size: tuple[int, int] | None = None  # width and height to scale to; the middle is cut out,
    squash: bool = False  # or all of it distorted
    complete: bool = False  # whether a file that is no image is refused, not left out
    image_column: str | None = None  # of a table; None: what can only be one
    label_column: str | None = None


AS_IS = Reading()


def decode(file: Path | bytes, name: str, how: Reading) -> tuple[Tensor, bool]:
    """Pixels (C, H, W) uint8 of an image, upright and opaque, and whether it had been opaque.

    DataError for what is broken, too large, or several images in one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
                return _decoded(image, name, how)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise DataError(f"{name} has more than {most} pixels: scale it down.") from error
    except BROKEN as error:
        refused, known = DataError, Image.registered_extensions()
        if isinstance(error, UnidentifiedImageError) and isinstance(file, Path):
            refused = DataError if file.suffix.lower() in known else NoImageError
        raise refused(f"{name} cannot be read as an image: remove or replace it.") from error


def _decoded(image: Image.Image, name: str, how: Reading) -> tuple[Tensor, bool]:
    if image.format not in ("MPO", "PSD"):  # whose first frame is the whole image
        with contextlib.suppress(EOFError):
            image.seek(1)
            raise DataError(f"{name} has several frames: save the one you mean as a single image.")
    with contextlib.suppress(SyntaxError, struct.error):
        image.getexif()  # raises once for metadata that cannot be read, and has none from then on
    image, transparent = ImageOps.exif_transpose(image), image.has_transparency_data
    if image.mode.startswith("I;16") and not transparent:
        # Pillow's own conversion cuts off all above 255.
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    if image.mode[0] in "IF":
        raise DataError(f"{name} has pixels of mode {image.mode}: convert it to 8 bits.")
    grey = image.mode in ("1", "L", "LA")
    if transparent:
        image = image.convert("RGBA")
        transparent = image.getchannel("A").getextrema() != (255, 255)
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    image = image.convert("L" if grey else "RGB")
    if how.size is not None and image.size != how.size:
        resize = Image.Image.resize if how.squash else ImageOps.fit
        image = resize(image, how.size, Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(image))
    return (pixels[None] if grey else pixels.permute(2, 0, 1).contiguous()), not transparent


def stack(images: list[Tensor], name: str) -> Tensor:
    """Images (C, H, W) of one shape as one; grey ones among grey ones may be kept as colours."""
    if any(len(image) == 1 for image in images):
        images = [image[:1] if (image == image[:1]).all() else image for image in images]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        first, second, *_ = sorted(shapes)
        raise DataError(
            f"{name} holds images of several shapes, {first} and {second} (channels, height, "
            "width) among them: give a size, or convert them to one shape."
        )
    return torch.stack(images)


def natural(text: str) -> tuple[list[str | int], str]:
    """A key to sort by in which numbers count as numbers: 2 comes before 10."""
    parts = re.split("([0-9]+)", text)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], text


def walk(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """All files below a folder in natural order, and with other paths why they are none.

    Links are followed and names with a dot left out. DataError where a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}).") from error

    found: list[tuple[Path, str | None]] = []
    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(root).absolute()
        above = {os.path.realpath(path) for path in (here, *here.parents)}
        loops = [
            f for f in folders if (here / f).is_symlink() and os.path.realpath(here / f) in above
        ]
        found += [(Path(root, name), "a link to a folder above it") for name in loops]
        found += [(Path(root, name), _why_not(here / name)) for name in files]
        folders[:] = [f for f in folders if f not in loops and not f.startswith(".")]
    shown = [(path, why) for path, why in found if not path.name.startswith(".")]
    yield from sorted(shown, key=lambda pair: [natural(part) for part in pair[0].parts])


def _why_not(path: Path) -> str | None:
    try:
        return None if stat.S_ISREG(path.stat().st_mode) else "no regular file"
    except OSError:
        return "a link to nothing"


def table_files(source: str) -> list[str]:
    """The parquet files that a path names, itself or those of a folder; DataError beside images."""
    path = Path(source)
    if not os.path.isdir(path):
        return [source] if path.suffix.lower() == ".parquet" and os.path.isfile(path) else []
    suffixes = {found: found.suffix.lower() for found, why in walk(path) if why is None}
    files = [str(found) for found, suffix in suffixes.items() if suffix == ".parquet"]
    if files and not Image.registered_extensions().keys().isdisjoint(suffixes.values()):
        raise DataError(f"{source} holds both images and parquet files: give one of them.")
    return files
