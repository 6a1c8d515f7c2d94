"""Whether prompts fit a text-to-image model, by its tokenizers alone."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import transformers

from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.text.families import tokenizer_of
from efface.diffusion.text.prompts import PromptEncoder, Reader


def check_lengths(info: ModelInfo, prompts: Sequence[str]) -> None:
    """Raise RequestError for a prompt that an encoder would cut; no weights are read.

    A tokenizer that cannot be read is passed over: loading the model says what is wrong with it.
    """
    assert info.family is not None  # the request was checked
    readers = []
    for encoder in info.encoders:
        name = tokenizer_of(encoder)
        kind = getattr(transformers, info.index[name][1])
        try:
            tokenizer = kind.from_pretrained(info.folder / name, local_files_only=True)
        except (OSError, ValueError, TypeError, KeyError, ImportError):
            continue
        longest = tokenizer.model_max_length
        if info.family.longest is not None and info.index[encoder][1] == "T5EncoderModel":
            longest = info.family.longest
        readers.append(Reader(encoder, tokenizer, longest))
    encoder_free: Any = SimpleNamespace(config={})
    PromptEncoder(info.family, encoder_free, readers, {}).check(prompts)
