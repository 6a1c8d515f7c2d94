"""Reads the JSON files of a diffusers pipeline folder (no torch)."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from efface.errors import ModelError

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
                f"a JSON file of {args[0]} holds a value of another kind than diffusers writes "
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
    entry = index.get(part)
    return entry[1] if isinstance(entry, list) and len(entry) == 2 else None


def read_number(index: dict[str, Any], key: str, default: float, folder: Path) -> float:
    """A number of model_index.json; ModelError for one that is not above 0."""
    if key not in index:
        return default
    value = index[key]
    if not isinstance(value, int | float) or not value > 0:
        raise ModelError(
            f"{folder}/model_index.json gives {key} as {value!r}: a number above 0 is needed."
        )
    return value


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
