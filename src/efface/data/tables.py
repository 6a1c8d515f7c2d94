"""Tables: parquet files, and data sets of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from efface.diffusion.hub import hub_errors, reason
from efface.errors import DataError

HUB = "datasets:"


def read_data_set(source: str, split: str | None) -> Any:
    """A `datasets.Dataset`: a parquet file, which has no splits, or HUB and a data set's id.

    Of a data set's id without `split` all of them, by name. Raises DataError.
    """
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
        from datasets.utils.logging import disable_progress_bar
    except ImportError:
        raise DataError(
            "parquet files and data sets need the extra 'data': pip install 'efface[data]'."
        ) from None
    disable_progress_bar()
    try:
        if source.startswith(HUB):
            return load_dataset(source.removeprefix(HUB), split=split)
        return load_dataset("parquet", data_files=source, split="train")
    except (*hub_errors(), DatasetsError) as error:
        if source.startswith(HUB):
            named = "" if split is None else f", its split {split!r}"
            raise DataError(
                f"{source} cannot be read from the hub, {reason(error)}: check its id{named} and "
                "the connection; a data set that brings code of its own is not run."
            ) from error
        raise DataError(
            f"{source} is no readable parquet file with rows: write it anew."
        ) from error


def read_table(source: str, split: str) -> Any:
    """A data set with a column `image` that is left encoded; raises DataError."""
    rows = read_data_set(source, split)
    from datasets import Image

    if not isinstance(rows.features.get("image"), Image):
        raise DataError(f"{source} has no column 'image' of encoded images.")
    return rows.cast_column("image", Image(decode=False))


def encoded_images(table: Any) -> Iterator[bytes]:
    """The files' content, row by row; empty where there is none."""
    for entry in table["image"]:
        yield (entry or {}).get("bytes") or b""


def labels_of(table: Any, source: str) -> tuple[list[int] | None, tuple[str, ...]]:
    """Labels, None without a column `label`, and their names where the table has them."""
    from datasets import ClassLabel

    if "label" not in table.features:
        return None, ()
    feature = table.features["label"]
    names = tuple(feature.names) if isinstance(feature, ClassLabel) else ()
    labels = table["label"][:]
    wrong = [label for label in labels if not isinstance(label, int) or label < 0]
    if wrong:
        raise DataError(f"{source} has the label {wrong[0]!r}: labels are numbers from 0 up.")
    return labels, names
