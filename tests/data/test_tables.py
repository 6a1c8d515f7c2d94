"""Tables that people bring, and data sets of the hub: read, or answered in a sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from PIL import Image

from efface.data.image_files import Reading
from efface.data.images import load_images
from efface.data.tables import read_data_set
from efface.errors import DataError
from tests.hubs import Answer, does_not_know, hangs_up, hub, refusing_proxy, shows_a_page

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (hangs_up, r"which could not be reached \(RemoteProtocolError\)"),
        (shows_a_page, r"which gave nothing that can be read \(FileNotFoundError\)"),
        (does_not_know, r"which gave nothing that can be read \(DatasetNotFoundError\)"),
        (None, r"which could not be reached \(ProxyError\)"),
    ],
)
def test_a_hub_that_fails_is_answered_with_one_sentence(
    answer: Answer | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = hub(answer, tmp_path, monkeypatch) if answer else None
    with failing or refusing_proxy(tmp_path, monkeypatch):
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", constants.ENDPOINT)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "data")
        with pytest.raises(DataError, match="datasets:acme/captions cannot be read") as caught:
            read_data_set("datasets:acme/captions", "train")
    assert caught.match(f"hub, {why}: check its id, its split 'train' and the connection")
    assert "\n" not in str(caught.value)


def png(grey: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (2, 2), grey).save(stream, "PNG")
    return stream.getvalue()


PNGS = [png(5), png(6)]
STRUCTS = [{"bytes": content, "path": "x.png"} for content in PNGS]
IMAGE = {"_type": "Image"}
NAMES = {"names": ["cat", "dog"], "_type": "ClassLabel"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(path: Path, columns: dict[str, Any], **features: Any) -> str:
    """A parquet file of these columns, with metadata on the `features` alone."""
    table = pyarrow.table(columns)
    if features:
        every = {name: features.get(name, {"dtype": "int64", "_type": "Value"}) for name in columns}
        metadata = {"huggingface": json.dumps({"info": {"features": every}})}
        table = table.replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
    return str(path)


READ = [
    ("struct", {"image": STRUCTS}, {}, None),
    ("struct, labels", {"image": STRUCTS, "label": [1, 0]}, {}, [1, 0]),
    ("another name", {"picture": STRUCTS}, {}, None),
    ("img", {"img": STRUCTS, "label": [1, 0]}, {"img": IMAGE, "label": NAMES}, [1, 0]),
    ("bytes alone", {"image": [{"bytes": content} for content in PNGS]}, {}, None),
    ("bytes last", {"image": [{"path": "x", "bytes": content} for content in PNGS]}, {}, None),
    ("more in it", {"image": [{**one, "height": 2} for one in STRUCTS]}, {}, None),
    ("files", {"jpg": PNGS}, {}, None),
    ("large files", {"jpg": pyarrow.array(PNGS, pyarrow.large_binary())}, {}, None),
    ("beside files", {"image": STRUCTS, "embedding": [b"1", b"2"]}, {}, None),
    ("beside images", {"image": STRUCTS, "mask": STRUCTS}, {}, None),
    ("text", {"image": STRUCTS, "caption": ["a", "b"], "url": ["c", "d"]}, {}, None),
    ("class names", {"image": STRUCTS, "label": [1, 0]}, {"image": IMAGE, "label": NAMES}, [1, 0]),
    ("one of classes", {"image": STRUCTS, "fine": [0, 1]}, {"image": IMAGE, "fine": NAMES}, [0, 1]),
    ("bytes", {"image": STRUCTS, "label": pyarrow.array([1, 0], pyarrow.uint8())}, {}, [1, 0]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "features", "labels"), [row[1:] for row in READ], ids=[row[0] for row in READ]
)
def test_a_table_is_read_without_being_told_how(tmp_path, columns, features, labels):
    images = load_images(write(tmp_path / "x.parquet", columns, **features))
    assert images.images[:, 0, 0, 0].tolist() == [5, 6]
    assert labels == (None if images.labels is None else images.labels.tolist())
    named = any(feature is NAMES for feature in features.values())
    assert images.label_names == (("cat", "dog") if named else ())


TWO = {"front": STRUCTS, "back": STRUCTS[::-1]}
CLASSES = {"image": STRUCTS, "fine": [0, 1], "coarse": [1, 1]}
NAMED = {"image": IMAGE, "fine": NAMES, "coarse": NAMES}
CHOSEN = [
    ("two images", TWO, {}, {"image_column": "back"}, [6, 5], None),
    ("other", {"image": STRUCTS, "b": STRUCTS[::-1]}, {}, {"image_column": "b"}, [6, 5], None),
    ("files", {"image": STRUCTS, "raw": PNGS[::-1]}, {}, {"image_column": "raw"}, [6, 5], None),
    ("two files", {"a": PNGS, "b": PNGS[::-1]}, {}, {"image_column": "b"}, [6, 5], None),
    ("fine", CLASSES, NAMED, {"label_column": "fine"}, [5, 6], [0, 1]),
    ("coarse", CLASSES, NAMED, {"label_column": "coarse"}, [5, 6], [1, 1]),
    ("plain", {"image": STRUCTS, "y": [3, 4]}, {}, {"label_column": "y"}, [5, 6], [3, 4]),
    ("none of two", CLASSES, NAMED, {}, [5, 6], None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "features", "how", "greys", "labels"),
    [row[1:] for row in CHOSEN],
    ids=[row[0] for row in CHOSEN],
)
def test_a_column_is_chosen(tmp_path, capsys, columns, features, how, greys, labels):
    path = write(tmp_path / "x.parquet", columns, **features)
    images = load_images(path, how=Reading(**how))
    assert images.images[:, 0, 0, 0].tolist() == greys
    assert labels == (None if images.labels is None else images.labels.tolist())
    told = capsys.readouterr().err
    assert all(column in told for column in how.values())
    assert f"of {', '.join(columns)}" in told


ONE_NAMED = {"image": IMAGE, "label": NAMES}
HUGE = {"image": STRUCTS, "label": [0, 10**12]}
WRONG = [
    ("two images", TWO, {}, {}, "no column 'image'.*front .*back .*image-column"),
    ("two files", {"a": PNGS, "b": PNGS}, {}, {}, r"a \(binary\), b \(binary\).*image-column"),
    ("none", {"x": [1, 2]}, {}, {}, r"no column 'image' .*x \(int64\)"),
    ("paths", {"image": ["a.png", "b.png"]}, {}, {}, r"no column 'image' .*image \(string\)"),
    ("several in a row", {"image": [STRUCTS, STRUCTS]}, {}, {}, r"image \(List\)"),
    ("pixels", {"image": [[[1, 2]], [[3, 4]]]}, {}, {}, r"image \(List\)"),
    ("not there", {"image": STRUCTS}, {}, {"image_column": "img"}, "no column 'img'.*image"),
    ("no images", {"image": STRUCTS, "n": [1, 2]}, {}, {"image_column": "n"}, "no column 'n' of"),
    ("no label", {"image": STRUCTS}, {}, {"label_column": "y"}, "no column 'y'.*image"),
    ("text labels", {"image": STRUCTS, "label": ["a", "b"]}, {}, {}, "label 'a' in column 'label'"),
    ("lists", {"image": STRUCTS, "label": [[0], [1]]}, {}, {}, r"label \[0\] in column"),
    ("no class", {"image": STRUCTS, "label": [-1, 0]}, {}, {}, "label -1"),
    ("unnamed", {"image": STRUCTS, "label": [0, 2]}, ONE_NAMED, {}, "label 2 "),
    ("huge", HUGE, {}, {}, "label 1000000000000"),
    ("missing", {"image": [STRUCTS[0], None]}, {}, {}, "row 1 cannot be read as an image"),
    ("path alone", {"image": [{"bytes": None, "path": "x.png"}] * 2}, {}, {}, "row 0 cannot be"),
    ("broken", {"image": [STRUCTS[0], {"bytes": b"x", "path": ""}]}, {}, {}, "row 1 cannot"),
    ("unknown", {"image": STRUCTS}, {"image": {"_type": "Nope"}}, {}, "not a readable parquet"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "features", "how", "match"),
    [row[1:] for row in WRONG],
    ids=[row[0] for row in WRONG],
)
def test_a_table_that_cannot_be_read_is_answered(tmp_path, columns, features, how, match):
    path = write(tmp_path / "x.parquet", columns, **features)
    with pytest.raises(DataError, match=f"x.parquet.*{match}") as caught:
        load_images(path, how=Reading(**how))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1" + bytes(40) + b"PAR1", b"a,b"],
    ids=["empty", "4", "48", "csv"],
)
def test_files_that_are_no_parquet_are_answered(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet is not a readable parquet file with rows"):
        load_images(str(tmp_path / "x.parquet"))


@pytest.mark.parametrize("name", ["x.PARQUET", "a[1].parquet", "a*.parquet", "a b?.parquet"])
def test_a_parquet_file_may_have_any_name(tmp_path, name):
    write(tmp_path / "a1.parquet", {"image": STRUCTS * 2})
    assert len(load_images(write(tmp_path / name, {"image": STRUCTS}))) == 2


@pytest.mark.parametrize(
    ("names", "split", "count"),
    [
        (("part-0", "part-1", "part-10"), "train", 6),
        (("0000", "0001"), "test", 4),
        (("data/part-0", "data/part-1"), "train", 4),
        (("data/train-00000-of-00002", "data/train-00001-of-00002"), "train", 4),
        (("train-00000-of-00001", "test-00000-of-00001"), "train", 2),
        (("train-00000-of-00001", "test-00000-of-00001", "test-00001-of-00001"), "test", 4),
        (("one",), "train", 2),
    ],
)
def test_a_folder_of_parquet_files_is_one_table(tmp_path, names, split, count):
    for name in names:
        write(tmp_path / "d" / f"{name}.parquet", {"image": STRUCTS, "label": [0, 1]})
    (tmp_path / "d" / "README.md").write_text("words")
    images = load_images(str(tmp_path / "d"), split)
    assert len(images) == count
    assert images.labels is not None and images.labels.tolist() == [0, 1] * (count // 2)
    assert len(load_images(f"{tmp_path / 'd'}#1", split)) == 1


def test_a_folder_that_is_no_table_as_a_whole_is_answered(tmp_path):
    write(tmp_path / "a.parquet", {"image": STRUCTS})
    write(tmp_path / "b.parquet", {"picture": STRUCTS})
    with pytest.raises(DataError, match="not a readable parquet file"):
        load_images(str(tmp_path))
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "b.png").write_bytes(PNGS[0])
    with pytest.raises(DataError, match="images and parquet files"):
        load_images(str(tmp_path))


def test_rows_are_named_by_their_number(tmp_path):
    path = write(tmp_path / "x.parquet", {"image": [*STRUCTS, {"bytes": b"x", "path": ""}]})
    with pytest.raises(DataError, match="row 2 cannot be read as an image"):
        load_images(f"{path}#1-2")


@pytest.mark.parametrize(
    ("words", "greys", "labels"),
    [
        ("?image=b", [6, 5], [0, 1]),
        ("?label=y", [5, 6], [3, 4]),
        ("?image=b&label=y", [6, 5], [3, 4]),
        ("?label=y&image=b", [6, 5], [3, 4]),
        ("?image=b#1", [5], [1]),
        ("?label=y#1", [6], [4]),
    ],
)
def test_a_source_names_its_columns(tmp_path, words, greys, labels):
    columns = {"image": STRUCTS, "b": STRUCTS[::-1], "label": [0, 1], "y": [3, 4]}
    images = load_images(write(tmp_path / "x.parquet", columns) + words)
    assert images.images[:, 0, 0, 0].tolist() == greys
    assert images.labels is not None and images.labels.tolist() == labels


@pytest.mark.parametrize("words", ["?", "?b", "?column=b", "?image=b&size=3", "?image=nowhere"])
def test_words_that_name_no_columns_are_refused(tmp_path, words):
    with pytest.raises(DataError, match="names no columns after|no column 'nowhere'"):
        load_images(write(tmp_path / "x.parquet", {"image": STRUCTS}) + words)


def test_a_parquet_file_is_a_data_set_without_splits(tmp_path):
    path = write(tmp_path / "x.parquet", {"caption": ["a", "b"]})
    assert read_data_set(path, None)["caption"][:] == ["a", "b"]


def test_images_to_forget_are_not_one_split_of_several(tmp_path):
    for name in ("train-0", "test-0"):
        write(tmp_path / f"{name}.parquet", {"image": STRUCTS})
    assert len(load_images(str(tmp_path))) == 2
    with pytest.raises(DataError, match="holds parquet files of several splits"):
        load_images(str(tmp_path), how=Reading(complete=True))


@pytest.mark.parametrize("columns", ["image=a", "label=a", "image=a&label=b"])
@pytest.mark.parametrize("source", ["digits", "zoo:symbol", "folder", "folder/0.png"])
def test_what_is_no_table_has_no_columns(tmp_path, source, columns):
    folder = tmp_path / "folder"
    folder.mkdir()
    Image.new("L", (8, 8)).save(folder / "0.png")
    named = source if source in ("digits", "zoo:symbol") else str(tmp_path / source)
    with pytest.raises(DataError, match="is no table, and .* names columns: leave them out"):
        load_images(f"{named}?{columns}")
