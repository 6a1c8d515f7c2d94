"""Reads the JSON files of a diffusers pipeline folder (no torch)."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeGuard, TypeVar

from efface.errors import ModelError

LARGEST_SIDE = 2**14  # of a sample
LARGEST_COUNT = 2**24  # of channels, or of labels
P = ParamSpec("P")
R = TypeVar("R")
STRANGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def understanding(inspect: Callable[P, R]) -> Callable[P, R]:
    """Raise ModelError where a value of a description is of no kind that anybody thought of."""

    @functools.wraps(inspect)
    def inspected(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return inspect(*args, **kwargs)
        except STRANGE as error:
            raise ModelError(
                f"a JSON file of {args[0]} holds a value of a type that diffusers does not write "
                f"({error}): copy or download the model again."
            ) from error

    return inspected


def read_json(path: Path, why: str) -> dict[str, Any]:
    """A file's object; ModelError, with what it is good for, where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: {why}.") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): {why}.") from error
    except (ValueError, RecursionError):
        raise ModelError(f"{path} is not valid JSON: write the model anew.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} does not hold a JSON object: write the model anew.")
    return content


def class_in(index: dict[str, Any], part: str) -> str | None:
    """The class that model_index.json gives a part; None for one that it leaves empty."""
    match index.get(part):
        case [_, str(kind)]:
            return kind
    return None


def read_number(index: dict[str, Any], key: str, default: float, folder: Path) -> float:
    """A number of model_index.json; ModelError for one that is not above 0."""
    if key not in index:
        return default
    value = index[key]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= LARGEST_COUNT:
        raise ModelError(
            f"{folder}/model_index.json gives {key} as {value!r}: a number above 0 is needed."
        )
    return value


def is_count(value: object, most: int = LARGEST_COUNT) -> TypeGuard[int]:
    """Whether a value is a whole number from 1 to `most`."""
    return type(value) is int and 1 <= value <= most


def read_count(config: dict[str, Any], key: str, default: int, file: Path) -> int:
    """A whole number of a configuration; ModelError for one that is not above 0, or absurd."""
    value = config.get(key, default)
    if not is_count(value):
        raise ModelError(
            f"{file} gives {key} as {value!r}: a whole number from 1 to {LARGEST_COUNT:,} is "
            "needed. Copy or download the model again."
        )
    return value


def read_sides(config: dict[str, Any], file: Path) -> tuple[int, int] | None:
    """(H, W) of the samples of a network; None where its configuration leaves them open."""
    size = config.get("sample_size")
    if size is None:
        return None
    match size if isinstance(size, list) else [size, size]:
        case [height, width] if is_count(height, LARGEST_SIDE) and is_count(width, LARGEST_SIDE):
            return height, width
    raise ModelError(
        f"{file} gives sample_size as {size!r}: a whole number from 1 to {LARGEST_SIDE:,} is "
        "needed, or a height and a width. Copy or download the model again."
    )


def read_vae(folder: Path) -> tuple[int, int]:
    """Channels of the images that a pipeline's VAE makes, and pixels per latent along a side."""
    path = folder / "vae" / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return int(config["out_channels"]), 2 ** (len(config["block_out_channels"]) - 1)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{path} does not say what images the VAE makes: copy or download the model again."
        ) from error
