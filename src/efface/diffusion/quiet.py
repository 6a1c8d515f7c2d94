"""Keep libraries from talking while they load what is judged here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal


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
