"""The environment of all tests, and which process runs which of them."""

from __future__ import annotations

import gc
import os
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start: sums round alike
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Load the shared fixtures, but not where other processes run the tests: torch takes long."""
    if config.getoption("dist", "no") == "no":
        gc.disable()  # until all is imported and collected, of which nothing goes
        config.pluginmanager.import_plugin("tests.fixtures")


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # tests leave few cycles, and looking for them takes long
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a folder in one process, so that what they share is made once.

    Pages of the documentation share nothing.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, _ = nodeid.partition("::")
            return nodeid if file.endswith("test_guides.py") else file.rpartition("/")[0]

    return ByFolder(config, log)
