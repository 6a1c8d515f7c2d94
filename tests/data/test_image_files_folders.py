"""Folders of images: what is read, what is said, and where labels come from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from efface.data.image_files import AS_IS, Reading, natural, walk
from efface.data.images import load_images
from efface.errors import DataError

COMPLETE = Reading(complete=True)


def write(folder: Path, *names: str) -> Path:
    """A folder with images of different greys under these names."""
    for grey, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), grey).save(path, "PNG")
    return folder


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (map(str, range(12)), [str(i) for i in range(12)]),
        (("10", "9", "1", "100", "2"), ["1", "2", "9", "10", "100"]),
        (("class10", "class2", "class1"), ["class1", "class2", "class10"]),
        (("07", "1", "10", "2"), ["1", "2", "07", "10"]),
        (("1-b", "1-a", "11-a", "2-a"), ["1-a", "1-b", "2-a", "11-a"]),
        (("dog", "cat", "Ant"), ["Ant", "cat", "dog"]),
        (("n02", "n01", "x"), ["n01", "n02", "x"]),
        (("v1.10", "v1.9", "v1.2"), ["v1.2", "v1.9", "v1.10"]),
        (("a/10", "a/9", "b/1"), ["a/9", "a/10", "b/1"]),
        (("3 cats", "20 cats", "cats"), ["3 cats", "20 cats", "cats"]),
        (("ü", "z", "é"), ["z", "é", "ü"]),
        (("1", "01", "001"), ["001", "01", "1"]),
        (("²", "1", "٣"), ["1", "²", "٣"]),
    ],
)
def test_labels_are_in_natural_order(tmp_path, names, ordered):
    given = list(names)
    images = load_images(str(write(tmp_path, *(f"{name}/x.png" for name in given))))
    assert images.label_names == tuple(ordered)
    greys = images.images[:, 0, 0, 0].tolist()
    assert [ordered[n] for n in images.labels.tolist()] == [given[grey] for grey in greys]
    assert sorted(given, key=natural) == ordered


def test_images_are_in_natural_order(tmp_path):
    images = load_images(str(write(tmp_path, "10.png", "9.png", "1.png")) + "#0-1")
    assert images.names == ("1.png", "9.png")


def linked_folder(folder: Path) -> None:
    write(folder.parent / "elsewhere", "b.png")
    (folder / "linked").symlink_to(folder.parent / "elsewhere")


def second_link(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "b.png").symlink_to(folder / "a.png")


def through_another(folder: Path) -> None:
    """A loop through a folder elsewhere."""
    write(folder.parent / "elsewhere", "b.png")
    (folder.parent / "elsewhere" / "back").symlink_to(folder)
    (folder / "linked").symlink_to(folder.parent / "elsewhere")


# What lies in a folder beside a.png: its maker, the names read, and what is said to be skipped.
LYING: list[tuple[str, Callable[[Path], object], tuple[str, ...], str]] = [
    ("dot file", lambda f: write(f, ".b.png", "._a.png"), (), ""),
    ("dot folder", lambda f: write(f, ".cache/b.png"), (), ""),
    ("linked folder", linked_folder, ("linked/b.png",), ""),
    ("linked file", second_link, ("more/b.png",), ""),
    ("loop", lambda f: (f / "loop").symlink_to(f), (), "loop (a link to a folder above it)"),
    ("wide loop", lambda f: (f / "up").symlink_to(f.parent), (), "up (a link to a folder above"),
    ("other loop", through_another, ("linked/b.png",), "linked/back (a link to a folder above"),
    ("self", lambda f: (f / "s.png").symlink_to(f / "s.png"), (), "s.png (a link to nothing)"),
    ("dangling", lambda f: (f / "d.png").symlink_to("gone"), (), "d.png (a link to nothing)"),
    ("dangling folder", lambda f: (f / "d").symlink_to("gone/x"), (), "d (a link to nothing)"),
    ("fifo", lambda f: os.mkfifo(f / "p.png"), (), "p.png (no regular file)"),
    ("device", lambda f: (f / "z.png").symlink_to("/dev/zero"), (), "z.png (no regular file)"),
    ("named as one", lambda f: (f / "b.png").mkdir(), (), ""),
    ("image in it", lambda f: write(f, "b.png/c.png"), ("b.png/c.png",), ""),
    ("text", lambda f: (f / "notes.txt").write_text("x"), (), "notes.txt (no image)"),
    ("captions", lambda f: (f / "metadata.jsonl").write_text("{}"), (), "metadata.jsonl (no im"),
    ("empty", lambda f: (f / "Thumbs.db").touch(), (), "Thumbs.db (no image)"),
    ("heic", lambda f: (f / "b.heic").write_bytes(b"\0\0\0\x18ftypheic"), (), "b.heic (no image)"),
    ("raw", lambda f: (f / "b.cr3").write_bytes(b"\0\0\0\x18ftypcrx "), (), "b.cr3 (no image)"),
    ("name", lambda f: write(f, "a\udcff.png"), ("a?.png",), ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "names", "said"), [row[1:] for row in LYING], ids=[row[0] for row in LYING]
)
def test_whatever_lies_in_a_folder_is_read_or_said(tmp_path, capsys, make, names, said):
    folder = write(tmp_path / "images", "a.png")
    make(folder)
    images = load_images(str(folder))
    assert images.names == tuple(sorted(("a.png", *names)))
    told = capsys.readouterr().err
    assert told.startswith(f"efface: images read from {folder}: {1 + len(names)}; no labels")
    assert (f"skipped {said}" in told) if said else ("skipped" not in told)
    if said:
        with pytest.raises(DataError, match="take out what is no image") as caught:
            load_images(str(folder), how=COMPLETE)
        assert said in str(caught.value)


@pytest.mark.parametrize("name", ["b.png", "b.JPG", "b.tif", "b.webp", "b.avif"])
def test_a_file_named_as_an_image_that_is_none_stops_every_reading(tmp_path, name):
    (write(tmp_path, "a.png") / name).write_text("no image")
    for how in (AS_IS, COMPLETE):
        with pytest.raises(DataError, match=f"{name} cannot be read as an image"):
            load_images(str(tmp_path), how=how)


def test_labels_and_their_names_are_said(tmp_path, capsys):
    load_images(str(write(tmp_path, "cat10/a.png", "cat9/a.png")))
    assert capsys.readouterr().err.endswith(": 2; labels 0 = cat9, 1 = cat10\n")
    write(tmp_path, *(f"{i}/x.png" for i in range(60)))
    load_images(str(tmp_path))
    assert ", ..., 61 = cat10" in capsys.readouterr().err


def test_images_beside_subfolders_have_no_labels(tmp_path):
    """Or else all labels would move by one."""
    images = load_images(str(write(tmp_path, "cat/a.png", "dog/a.png", "stray.png")))
    assert images.labels is None and images.label_names == ()


def test_a_walk_ends_where_folders_link_to_each_other(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
        write(tmp_path / name, "x.png")
    for name in "abc":
        for other in "abc":
            (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
    assert len([path for path, why in walk(tmp_path) if why is None]) == 3 * 5
