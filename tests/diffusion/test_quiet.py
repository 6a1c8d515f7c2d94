"""Libraries are silent for as long as they are told to be, and then as they were."""

from __future__ import annotations

import importlib
from typing import Literal

import pytest

from efface.diffusion.quiet import quiet


@pytest.mark.parametrize("library", ["transformers", "diffusers"])
@pytest.mark.parametrize("bars", [True, False])
def test_a_library_speaks_again_as_it_did_even_after_an_error(
    library: Literal["transformers", "diffusers"], bars: bool
) -> None:
    logging = importlib.import_module(f"{library}.utils.logging")
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    change = {True: logging.enable_progress_bar, False: logging.disable_progress_bar}
    logging.set_verbosity_info()
    change[bars]()
    try:
        with pytest.raises(OSError, match="broken"), quiet(library):
            assert logging.get_verbosity() == logging.ERROR
            assert not logging.is_progress_bar_enabled()
            raise OSError("broken")
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled() is bars
    finally:
        logging.set_verbosity(before[0])
        change[before[1]]()
