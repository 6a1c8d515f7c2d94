"""How often networks are passed, and that a run is not sampled twice."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

import efface


@contextlib.contextmanager
def counting_encoded() -> Iterator[list[int]]:
    """Rows of every pass of any text encoder."""
    rows: list[int] = []

    def count(module: torch.nn.Module, args: Any, kwargs: Any, _output: Any) -> None:
        if isinstance(module, transformers.CLIPTextModel):
            rows.append(len(args[0] if args else kwargs["input_ids"]))

    handle = torch.nn.modules.module.register_module_forward_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


@contextlib.contextmanager
def counting_passes() -> Iterator[list[str]]:
    """The name of the network of every pass of a diffusers model, a VAE's among them."""
    passes: list[str] = []

    def count(module: torch.nn.Module, _args: Any, _output: Any) -> None:
        if isinstance(module, diffusers.ModelMixin):
            passes.append(type(module).__name__)

    handle = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        yield passes
    finally:
        handle.remove()


def assert_drawn_once(
    run: Path, changes: Sequence[str] = (), retrained: Path | None = None
) -> None:
    """A run that was measured is measured again without its files by no network pass."""
    before = (run / "evaluation.json").read_bytes()
    sheets = {file.name: file.read_bytes() for file in (run / "samples").iterdir()}
    (run / "evaluation.json").unlink()
    shutil.rmtree(run / "samples")
    with counting_passes() as passes:
        efface.evaluate(run, changes=changes, retrained=retrained)
    assert passes == []
    assert (run / "evaluation.json").read_bytes() == before
    assert {file.name: file.read_bytes() for file in (run / "samples").iterdir()} == sheets


@contextlib.contextmanager
def without_store() -> Iterator[None]:
    folder = os.environ["EFFACE_CACHE"]
    os.environ["EFFACE_CACHE"] = "off"
    try:
        yield
    finally:
        os.environ["EFFACE_CACHE"] = folder
