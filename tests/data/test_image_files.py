"""What people keep images in: each is read as it looks, or answered in a sentence."""

from __future__ import annotations

import contextlib
import io
import os
import random
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.testing import assert_close

from efface.data.image_files import AS_IS, Reading, decode, stack
from efface.data.images import load_images, read_at
from efface.errors import DataError

COMPLETE = Reading(complete=True)
COLOURS = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
GREYS = COLOURS[..., 0]


def encoded(image: Image.Image | np.ndarray, format: str = "PNG", **how: object) -> bytes:
    stream = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(stream, format, **how)
    return stream.getvalue()


def pixels_of(content: bytes, how: Reading = AS_IS) -> np.ndarray:
    return decode(content, "x", how)[0].permute(1, 2, 0).numpy()


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


# Suffix, format, and whether pixels come back exactly.
FORMATS = [
    ("tif", "TIFF", True),
    ("tiff", "TIFF", True),
    ("TIF", "TIFF", True),
    ("gif", "GIF", False),
    ("jfif", "JPEG", False),
    ("jpe", "JPEG", False),
    ("JPEG", "JPEG", False),
    ("avif", "AVIF", False),
    ("jp2", "JPEG2000", True),
    ("j2k", "JPEG2000", True),
    ("ppm", "PPM", True),
    ("pnm", "PPM", True),
    ("tga", "TGA", True),
    ("pcx", "PCX", True),
    ("dib", "DIB", True),
    ("apng", "PNG", True),
    ("sgi", "SGI", True),
    ("dds", "DDS", True),
    ("qoi", "QOI", True),
    ("im", "IM", True),
    ("mpo", "MPO", False),
    ("png.bak", "PNG", True),
    ("txt", "PNG", True),
    ("", "PNG", True),
    ("jpg", "PNG", True),  # as servers name them
]


@pytest.mark.parametrize(("suffix", "format", "is_exact"), FORMATS)
def test_whatever_pillow_reads_is_read_by_content(tmp_path, suffix, format, is_exact):
    path = tmp_path / ("x" if not suffix else f"x.{suffix}")
    if format not in Image.SAVE:
        Image.init()
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {format}")
    path.write_bytes(encoded(COLOURS, format))
    images = load_images(str(tmp_path), how=COMPLETE)
    assert images.names == (path.name,)
    with Image.open(path) as image:
        own = np.array(image.convert("RGB"))
    assert_close(images.images[0].permute(1, 2, 0).numpy(), own)
    if is_exact:
        assert_close(own, COLOURS)
    assert load_images(str(path), how=COMPLETE).images.equal(images.images)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_images_are_turned_upright(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    content = encoded(COLOURS, format, exif=exif, **lossless.get(format, {}))
    with Image.open(io.BytesIO(content)) as image:
        upright = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert_close(pixels_of(content), upright)
    assert upright.shape[:2] == ((8, 12) if orientation < 5 else (12, 8))


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0no exif", b"Exif\0\0MM\0*\xff"])
def test_an_image_with_broken_metadata_is_read(exif):
    assert_close(pixels_of(encoded(COLOURS, exif=exif)), COLOURS)


def palette(transparent: int | None, colours: list[int]) -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette(colours)
    image.putdata([0, 1])
    return encoded(image, **({} if transparent is None else {"transparency": transparent}))


HIDDEN = (200, 0, 0, 0)  # red that must not show
BLENDED = [
    ("RGBA", Image.new("RGBA", (2, 2), HIDDEN), "PNG", (255, 255, 255)),
    ("half", Image.new("RGBA", (2, 2), (200, 0, 100, 51)), "PNG", (244, 204, 224)),
    ("LA", Image.new("LA", (2, 2), (100, 0)), "PNG", (255,)),
    ("opaque LA", Image.new("LA", (2, 2), (100, 255)), "PNG", (100,)),
    ("opaque RGBA", Image.new("RGBA", (2, 2), (1, 2, 3, 255)), "PNG", (1, 2, 3)),
    ("webp", Image.new("RGBA", (2, 2), HIDDEN), "WEBP", (255, 255, 255)),
    ("tiff", Image.new("RGBA", (2, 2), HIDDEN), "TIFF", (255, 255, 255)),
    ("tga", Image.new("RGBA", (2, 2), HIDDEN), "TGA", (255, 255, 255)),
    ("dds", Image.new("RGBA", (2, 2), HIDDEN), "DDS", (255, 255, 255)),
    ("jp2", Image.new("RGBA", (2, 2), HIDDEN), "JPEG2000", (255, 255, 255)),
    ("qoi", Image.new("RGBA", (2, 2), HIDDEN), "QOI", (255, 255, 255)),
]


@pytest.mark.parametrize(
    ("image", "format", "seen"), [b[1:] for b in BLENDED], ids=[b[0] for b in BLENDED]
)
def test_transparent_parts_are_white(image, format, seen):
    pixels = pixels_of(encoded(image, format))
    assert pixels[0, 0].tolist() == pytest.approx(list(seen), abs=1)


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        pytest.param(palette(0, [200, 0, 0, 0, 0, 255]), [255] * 3, id="palette"),
        pytest.param(palette(None, [200, 0, 0, 0, 0, 255]), [200, 0, 0], id="opaque palette"),
        pytest.param(encoded(Image.new("RGB", (2, 1), (9, 8, 7)), transparency=(9, 8, 7)),
                     [255] * 3, id="one colour"),
        pytest.param(encoded(Image.new("L", (2, 1), 9), transparency=9), [255], id="one grey"),
        pytest.param(encoded(Image.new("P", (2, 1), 0), "GIF", transparency=0), [255] * 3,
                     id="gif"),
    ],
)  # fmt: skip
def test_one_transparent_colour_is_white(content, seen):
    assert pixels_of(content)[0, 0].tolist() == seen


def test_transparent_parts_are_said(tmp_path, capsys):
    Image.new("RGBA", (2, 2), HIDDEN).save(tmp_path / "a.png")
    Image.new("RGBA", (2, 2), (1, 2, 3, 255)).save(tmp_path / "b.png")
    load_images(str(tmp_path))
    assert "1 with transparent parts, on white" in capsys.readouterr().err


def test_greys_of_formats_for_colour_go_with_greys():
    greys = Image.fromarray(GREYS)
    kinds = [greys, greys.convert("LA"), greys.convert("P"), greys.convert("1").convert("P")]
    decoded = [decode(encoded(kind), "x", AS_IS)[0] for kind in kinds]
    assert stack(decoded, "x").shape == (4, 1, 8, 12)
    assert stack(decoded, "x")[1].equal(decoded[0])
    with pytest.raises(DataError, match="several shapes"):
        stack([decoded[0], torch.from_numpy(COLOURS).permute(2, 0, 1)], "x")


@pytest.mark.parametrize(
    ("image", "format", "seen"),
    [
        (Image.new("CMYK", (2, 2), (255, 0, 0, 0)), "TIFF", [0, 255, 255]),
        (Image.new("CMYK", (2, 2), (0, 0, 0, 255)), "JPEG", [0, 0, 0]),
        (Image.new("1", (2, 2), 1), "PNG", [255]),
        (Image.new("1", (2, 2), 1), "PPM", [255]),
        (Image.fromarray(np.full((2, 2), 65535, np.uint16)), "PNG", [255]),
        (Image.fromarray(np.full((2, 2), 257, np.uint16)), "TIFF", [1]),
        (Image.fromarray(np.full((2, 2), 32896, np.uint16)), "JPEG2000", [128]),
        (Image.new("YCbCr", (2, 2), (255, 128, 128)), "JPEG", [255, 255, 255]),
        (Image.new("HSV", (2, 2), (0, 255, 255)).convert("RGB"), "PNG", [255, 0, 0]),
        (Image.new("RGBX", (2, 2), (1, 2, 3, 0)), "TIFF", [1, 2, 3]),
    ],
)
def test_other_colours_and_depths_are_read(image, format, seen):
    assert pixels_of(encoded(image, format))[0, 0].tolist() == pytest.approx(seen, abs=1)


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (4, 4), "red")]}
REFUSED = [
    ("empty", b"", "cannot be read as an image"),
    ("text", b"not an image", "cannot be read as an image"),
    ("half a png", encoded(COLOURS)[:120], "cannot be read as an image"),
    ("half a jpeg", encoded(COLOURS, "JPEG")[:-60], "cannot be read as an image"),
    ("half a gif", encoded(COLOURS, "GIF")[:-40], "cannot be read as an image"),
    ("half a webp", encoded(COLOURS, "WEBP")[:-40], "cannot be read as an image"),
    ("half a tiff", encoded(COLOURS, "TIFF")[:-100], "cannot be read as an image"),
    ("half a bmp", encoded(COLOURS, "BMP")[:-40], "cannot be read as an image"),
    ("half a jp2", encoded(COLOURS, "JPEG2000")[:-40], "cannot be read as an image"),
    ("bomb", bomb(50_000, 50_000), "more than 89,478,485 pixels"),
    ("small bomb", bomb(10_000, 10_000), "more than 89,478,485 pixels"),
    ("gif", encoded(Image.new("RGB", (4, 4)), "GIF", **FRAMES), "several frames"),
    ("apng", encoded(Image.new("RGB", (4, 4)), "PNG", **FRAMES), "several frames"),
    ("webp", encoded(Image.new("RGB", (4, 4)), "WEBP", **FRAMES), "several frames"),
    ("tiff", encoded(Image.new("RGB", (4, 4)), "TIFF", **FRAMES), "several frames"),
    ("float", encoded(Image.new("F", (2, 2)), "TIFF"), "pixels of mode F"),
    ("32 bits", encoded(Image.new("I", (2, 2)), "TIFF"), "pixels of mode I"),
]


@pytest.mark.parametrize(
    ("content", "match"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_what_is_no_single_image_is_answered(tmp_path, content, match):
    (tmp_path / "x.png").write_bytes(content)
    for source in (tmp_path, tmp_path / "x.png"):
        with pytest.raises(DataError, match=rf"x\.png .*{match}"):
            load_images(str(source))


def test_photographs_that_carry_a_second_image_are_read():
    content = encoded(Image.fromarray(COLOURS), "MPO", **FRAMES)
    assert pixels_of(content).shape == (8, 12, 3)


@pytest.mark.slow
@pytest.mark.parametrize("format", sorted({f for _, f, _ in FORMATS}))
def test_no_broken_file_is_a_traceback(format):
    whole, chance = encoded(COLOURS, format), random.Random(0)
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(min(len(content), 4000))] = chance.randrange(256)
        with contextlib.suppress(DataError):
            pixels_of(bytes(content[: chance.randint(1, len(content))]))


@pytest.mark.parametrize(
    ("shape", "size", "squash", "middle"),
    [
        ((4, 12), (4, 4), False, slice(4, 8)),
        ((12, 4), (4, 4), False, slice(4, 8)),
        ((4, 4), (4, 4), False, None),
        ((4, 12), (4, 4), True, None),
        ((12, 4), (4, 4), True, None),
        ((4, 12), (8, 4), False, slice(2, 10)),
    ],
)
def test_the_middle_is_cut_out_unless_it_is_squashed(shape, size, squash, middle):
    image = np.arange(48, dtype=np.uint8)[: shape[0] * shape[1]].reshape(shape)
    read = pixels_of(encoded(image), Reading(size=size, squash=squash))[..., 0]
    if middle is None:
        scaled = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
        assert_close(read, np.array(scaled))
    else:
        assert_close(read, image[:, middle] if shape[1] > shape[0] else image[middle])


def test_squares_are_scaled_as_before():
    image = COLOURS[:, :8]
    scaled = np.array(Image.fromarray(image).resize((3, 3), Image.Resampling.LANCZOS))
    assert_close(pixels_of(encoded(image), Reading(size=(3, 3))), scaled)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        lambda path: path.symlink_to("gone"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_text("words"),
        lambda path: path.touch(),
        lambda path: path.write_bytes(b"%PDF-1.7"),
    ],
    ids=["fifo", "dangling", "loop", "device", "text", "empty", "pdf"],
)
def test_a_source_that_is_no_image_is_answered(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(DataError, match=r"no images at .*x: give 'digits', a folder of images"):
        load_images(str(tmp_path / "x"))


@pytest.mark.parametrize("shape", [(4, 8), (8, 4), (5, 3)])
def test_images_are_brought_to_models_that_are_not_square(tmp_path, shape):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    for resize in (True, "squash"):
        images = read_at(str(tmp_path), (3, *shape), resize=resize)
        assert images.images.shape == (1, 3, *shape)
