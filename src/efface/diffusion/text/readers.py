"""Tokenizers, and whether prompts fit what text encoders read; no weights are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import transformers

from efface.diffusion.config_files import read_json
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.quiet import loading
from efface.diffusion.text.families import TextFamily, tokenizer_of
from efface.diffusion.text.folder import check_length
from efface.errors import ModelError, RequestError

SHOWN = 60  # characters of a prompt in a sentence
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")


@dataclass(frozen=True, eq=False)
class Reader:
    """A tokenizer and the tokens, marks included, that its text encoder reads."""

    name: str
    tokenizer: Any
    longest: int


def load_readers(info: ModelInfo) -> list[Reader]:
    """One for each text encoder of a pipeline; ModelError for a tokenizer that cannot be read."""
    return [_load_reader(info, encoder) for encoder in info.encoders]


def _load_reader(info: ModelInfo, encoder: str) -> Reader:
    assert info.family is not None
    folder = info.folder / tokenizer_of(encoder)
    if not any((folder / file).exists() for file in VOCABULARIES):
        # transformers would go on with an empty one.
        raise ModelError(
            f"{folder} holds no vocabulary ({', '.join(VOCABULARIES)}): copy or download the model "
            "again."
        )
    with loading(folder):
        kind = getattr(transformers, info.index[folder.name][1])
        tokenizer = kind.from_pretrained(folder, local_files_only=True)
    if info.family.longest is not None and info.index[encoder][1] == "T5EncoderModel":
        return Reader(encoder, tokenizer, info.family.longest)
    longest = tokenizer.model_max_length
    config = read_json(info.folder / encoder / "config.json", "it describes the encoder")
    own = getattr(transformers, info.index[encoder][1]).config_class.from_dict(config)
    check_length(folder, longest, own.to_dict().get("max_position_embeddings"))
    return Reader(encoder, tokenizer, longest)


def check_lengths(info: ModelInfo, prompts: Sequence[str]) -> None:
    """Raise RequestError for a prompt that an encoder would cut."""
    assert info.family is not None  # the request was checked
    check_prompts(prompts, load_readers(info), info.family)


def check_prompts(prompts: Sequence[str], readers: Sequence[Reader], family: TextFamily) -> None:
    """Raise RequestError for a prompt that is no text or that an encoder would cut."""
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise RequestError(f"{prompt!r} is no prompt: this model takes text.")
    texts = [p.lower().strip() if family.lower_case else p for p in prompts]
    for reader in readers:
        counts = map(len, reader.tokenizer(texts, truncation=False, verbose=False).input_ids)
        for prompt, count in zip(prompts, counts, strict=True):
            if count > reader.longest:
                raise RequestError(
                    f"the prompt {shortened(prompt)} has {count} tokens, and the {reader.name} of "
                    f"this model reads at most {reader.longest}, marks of beginning and end "
                    "included: shorten it."
                )


def shortened(prompt: str) -> str:
    """A prompt in quotes, cut for a sentence."""
    return repr(prompt if len(prompt) <= SHOWN else prompt[: SHOWN - 3] + "...")
