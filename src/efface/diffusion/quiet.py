"""Load with a library: without its bars and hints, and with one sentence for what fails."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from huggingface_hub.errors import StrictDataclassError

from efface.errors import ModelError

# What libraries raise for files that make no part of a model.
UNUSABLE = (OSError, ValueError, RuntimeError, TypeError, LookupError, AttributeError, ImportError)
UNUSABLE += (ArithmeticError, AssertionError, StrictDataclassError)


@contextmanager
def quiet(library: Literal["transformers", "diffusers"] = "transformers") -> Iterator[None]:
    """No bars, no tables of weights and no hints from a library, for as long as this lasts."""
    logging = importlib.import_module(f"{library}.utils.logging")
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Raise ModelError, in one sentence, where a library cannot make what `folder` describes."""
    try:
        yield
    except UNUSABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{folder} could not be loaded: {reason}") from error
