"""Tables: parquet files, and data sets of the hub."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from efface.diffusion.hub import hub_errors, reason
from efface.errors import DataError

if TYPE_CHECKING:
    from efface.data.image_files import Reading

HUB = "datasets:"
LARGEST = 1_000_000  # labels without names


def read_data_set(source: str, split: str | None, files: Sequence[str] = ()) -> Any:
    """A `datasets.Dataset`: HUB and a data set's id, or parquet, a file or the `files` of a source.

    Of a data set's id without `split` all of them, by name. Raises DataError.
    """
    try:
        from datasets import Dataset, load_dataset
        from datasets.exceptions import DatasetsError
        from datasets.utils.logging import disable_progress_bar
        from pyarrow import ArrowException, concat_tables
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(
            "parquet files and data sets need the extra 'data': pip install 'efface[data]'."
        ) from None
    disable_progress_bar()
    try:
        if source.startswith(HUB):
            return load_dataset(source.removeprefix(HUB), split=split)
        rows = Dataset(concat_tables([ParquetFile(file).read() for file in files or [source]]))
        if len(rows):
            return rows
        raise ValueError
    except (*hub_errors(), DatasetsError, ArrowException, TypeError) as error:
        if source.startswith(HUB):
            named = "" if split is None else f", its split {split!r}"
            raise DataError(
                f"{source} cannot be read from the hub, {reason(error)}: check its id{named} and "
                "the connection; a data set that brings code of its own is not run."
            ) from error
        raise DataError(
            f"{source} is not a readable parquet file with rows, or its shards differ in their "
            "columns: write it anew."
        ) from error


def _of_split(source: str, files: list[str], split: str, complete: bool) -> list[str]:
    """Files of a split, where their names say which are for training and which for tests."""
    words = [set(re.split("[^a-z]+", os.path.relpath(f, source).lower())) for f in files]
    if not any(own & {"train", "test"} for own in words):
        return files
    chosen = [file for file, own in zip(files, words, strict=True) if split in own]
    if not chosen or (complete and len(chosen) < len(files)):
        raise DataError(f"{source} holds parquet files of several splits: give those to be read.")
    return chosen


def read_table(
    source: str, files: list[str], split: str, how: "Reading"
) -> tuple[Any, str, str | None]:
    """A data set, or parquet files, and its columns of images, left encoded, and of labels.

    If none is chosen they are `image`, or the only one of images, and `label`, or the only one of
    named classes. Raises DataError.
    """
    from datasets import ClassLabel, Image, Value

    rows = read_data_set(source, split, _of_split(source, files, split, how.complete))
    kinds = {
        name: kind.dtype
        if isinstance(kind, Value)
        else type(kind).__name__.replace("dict", "struct")
        for name, kind in rows.features.items()
    }
    structs = [n for n, f in rows.features.items() if isinstance(f, dict) and "bytes" in f]
    images = structs + [name for name, kind in kinds.items() if kind == Image.__name__]
    binary = [name for name, kind in kinds.items() if "binary" in kind]
    classes = [name for name, kind in kinds.items() if kind == ClassLabel.__name__]
    there = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
    image = how.image_column or _only("image", images or binary) or "image"
    label = how.label_column or ("label" if "label" in kinds else _only("label", classes))
    if image not in {*images, *binary}:
        raise DataError(
            f"{source} has no column {image!r} of encoded images, nor another that must be meant, "
            f"but {there}: choose with --image-column, or append ?image=NAME."
        )
    if label is not None and label not in kinds:
        raise DataError(f"{source} has no column {label!r}, but {there}: choose one of them.")
    if kinds[image] == Image.__name__:
        rows = rows.cast_column(image, Image(decode=False))
    return rows, image, label


def _only(name: str, suited: list[str]) -> str | None:
    """The column of that name, or else the only one that is suited."""
    return name if name in suited else suited[0] if len(suited) == 1 else None


def encoded_images(column: Iterable[Any]) -> Iterator[bytes]:
    """The files' content, row by row; empty where there is none."""
    for entry in column:
        yield (entry.get("bytes") if isinstance(entry, dict) else entry) or b""


def labels_of(
    table: Any, column: str | None, source: str
) -> tuple[list[int] | None, tuple[str, ...]]:
    """Labels, None without a column of them, and their names where the table has them."""
    from datasets import ClassLabel

    if column is None:
        return None, ()
    feature = table.features[column]
    names = tuple(feature.names) if isinstance(feature, ClassLabel) else ()
    labels, end = table[column][:], len(names) or LARGEST
    wrong = [n for n in labels if not isinstance(n, int) or not 0 <= n < end]
    if wrong:
        raise DataError(
            f"{source} has the label {wrong[0]!r} in column {column!r}: labels are numbers from 0 "
            f"to {end - 1}, choose another column with --label-column, or append ?label=NAME."
        )
    return labels, names
