"""Which prompts pass the text encoders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import transformers

from tests.text_pipelines import clip_tokenizer, t5_tokenizer

ENCODERS = (
    transformers.CLIPTextModel,
    transformers.CLIPTextModelWithProjection,
    transformers.T5EncoderModel,
)
COUNTS = {"sd": 1, "sdxl": 2, "sd3": 3, "flux": 2}  # encoders of each family
Read = dict[torch.nn.Module, list[tuple[int, ...]]]


@contextlib.contextmanager
def reading() -> Iterator[Read]:
    """The rows of tokens that each text encoder of a pipeline is given, by encoder.

    Encoders are held on to, so that one that is loaded again is another one. A CLIP that evaluates
    images has a vocabulary of its own, and is none of them.
    """
    read: Read = {}
    sizes = {len(clip_tokenizer()), len(t5_tokenizer())}

    def note(module: torch.nn.Module, args: Any, kwargs: Any, _output: Any) -> None:
        if isinstance(module, ENCODERS) and module.config.vocab_size in sizes:
            rows = args[0] if args else kwargs["input_ids"]
            read.setdefault(module, []).extend(map(tuple, rows.tolist()))

    handle = torch.nn.modules.module.register_module_forward_hook(note, with_kwargs=True)
    try:
        yield read
    finally:
        handle.remove()
    # One with a projection has one without inside.
    for inside in {part for encoder in read for part in encoder.modules() if part is not encoder}:
        read.pop(inside, None)


def assert_read_once(read: Read, kind: str, prompts: int) -> None:
    """No text encoder was loaded twice, and none was given a prompt twice."""
    assert len(read) == COUNTS[kind]
    for module, rows in read.items():
        assert len(rows) == len(set(rows)) == prompts, type(module).__name__
