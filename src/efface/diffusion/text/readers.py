"""Tokenizers, and whether prompts fit what text encoders read; no weights are read."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import transformers
from diffusers.loaders import TextualInversionLoaderMixin

from efface.diffusion.config_files import read_json
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.quiet import loading
from efface.diffusion.text.families import TextFamily, tokenizer_of
from efface.diffusion.text.folder import check_length
from efface.errors import ModelError, RequestError
from efface.progress import note

AT_ONCE = 1000  # prompts that are counted together
SHOWN = 60  # characters of a prompt in a sentence
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")


@dataclass(frozen=True, eq=False, kw_only=True)
class Reader:
    """A tokenizer and the tokens, marks included, that its text encoder reads."""

    name: str
    tokenizer: Any
    longest: int
    family: TextFamily

    def counts(self, prompts: Sequence[str]) -> Iterator[int]:
        """Tokens of each prompt, as the pipeline writes it before it reads it."""
        added = self.tokenizer.added_tokens_encoder
        several = self.family.spells_tokens and any(f"{token}_1" in added for token in added)
        convert = TextualInversionLoaderMixin().maybe_convert_prompt
        for start in range(0, len(prompts), AT_ONCE):
            part = prompts[start : start + AT_ONCE]
            texts = [p.lower().strip() if self.family.lower_case else p for p in part]
            if several:  # one word for several vectors
                texts = convert(texts, self.tokenizer)
            yield from map(len, self.tokenizer(texts, truncation=False, verbose=False).input_ids)


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
        longest = info.family.longest
        return Reader(name=encoder, tokenizer=tokenizer, longest=longest, family=info.family)
    longest = tokenizer.model_max_length
    config = read_json(info.folder / encoder / "config.json", "it describes the encoder")
    own = getattr(transformers, info.index[encoder][1]).config_class.from_dict(config)
    check_length(folder, longest, own.to_dict().get("max_position_embeddings"))
    return Reader(name=encoder, tokenizer=tokenizer, longest=longest, family=info.family)


def whole_prompts(prompts: Sequence[str], readers: Sequence[Reader]) -> list[str]:
    """Those that a text encoder reads whole; says how many are left out.

    RequestError where all are too long.
    """
    long = _too_long(prompts, readers)
    whole = [prompt for prompt in prompts if prompt not in long]
    if not whole:
        check_prompts(prompts, readers)
    if long:
        shown = f"{len(long)} of {len(prompts)} prompts, such as {shortened(next(iter(long)))}"
        note(f"{shown}, are longer than the model reads and are left out.")
    return whole


def _too_long(prompts: Sequence[str], readers: Sequence[Reader]) -> dict[str, int]:
    """Prompts that no text encoder reads whole, with the tokens that the last one counts.

    The others are cut for the encoders that read less, as the stock pipelines do.
    """
    left = dict.fromkeys(prompts, 0) if readers else {}
    for reader in readers:
        counts = zip(left, reader.counts(list(left)), strict=True)
        left = {prompt: count for prompt, count in counts if count > reader.longest}
    return left


def check_prompts(prompts: Sequence[str], readers: Sequence[Reader]) -> None:
    """Raise RequestError for a prompt that is no text or that every encoder would cut."""
    for prompt in prompts:
        if not isinstance(prompt, str) or re.search("[\ud800-\udfff]", prompt):
            raise RequestError(f"{prompt!r} is no prompt: this model takes text.")
    readers = sorted(reversed(readers), key=lambda reader: reader.longest)
    for prompt, count in _too_long(prompts, readers).items():
        raise RequestError(
            f"the prompt {shortened(prompt)} has {count} tokens, and the {readers[-1].name} of "
            f"this model reads at most {readers[-1].longest}, marks of beginning and end included: "
            "shorten it."
        )


def shortened(prompt: str) -> str:
    """A prompt in quotes, cut for a sentence."""
    return repr(prompt if len(prompt) <= SHOWN else prompt[: SHOWN - 3] + "...")
