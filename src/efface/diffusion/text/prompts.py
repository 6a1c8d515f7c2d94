"""Prompts encoded once by frozen text encoders, and whether they fit what these read."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from diffusers.loaders import TextualInversionLoaderMixin
from torch import Tensor

from efface.diffusion.config_files import read_json
from efface.diffusion.denoiser import Condition
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.quiet import loading
from efface.diffusion.text.encoding import encode
from efface.diffusion.text.families import TextFamily, tokenizer_of
from efface.diffusion.text.folder import check_length
from efface.errors import ModelError, RequestError
from efface.progress import note

AT_ONCE = 32  # prompts in one pass of the text encoders
COUNTED_AT_ONCE = 1000  # prompts whose tokens are counted together
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
        for start in range(0, len(prompts), COUNTED_AT_ONCE):
            part = prompts[start : start + COUNTED_AT_ONCE]
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


class PromptEncoder:
    """The text encoders of a pipeline, apart from its network, and a cache by prompt.

    Shared by all networks of a run, so that a prompt is encoded once for all of them. Rows are
    kept on the CPU in float32. `constants` (one row each) go along with every prompt.
    """

    def __init__(
        self,
        family: TextFamily,
        pipeline: Any,
        readers: Sequence[Reader],
        constants: Mapping[str, Tensor],
    ) -> None:
        self._family = family
        self._pipeline: Any = pipeline
        self._readers = tuple(readers)
        self._constants = constants
        self._rows: dict[str, Mapping[str, Tensor]] = {}
        self._zeros_for_empty = bool(pipeline.config.get("force_zeros_for_empty_prompt", False))

    @property
    def encoded(self) -> int:
        """Prompts that went through the text encoders."""
        return len(self._rows)

    def check(self, prompts: Sequence[str]) -> None:
        """Raise RequestError for a prompt that is no text or that every encoder would cut."""
        check_prompts(prompts, self._readers)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """One row per prompt, on the CPU; only prompts not met before pass the encoders."""
        new = [p for p in dict.fromkeys(prompts) if p not in self._rows]
        if new:
            self.check(new)
        if new and self._pipeline is None:
            raise RequestError(
                f"the prompt {shortened(new[0])} was not encoded before the text encoders were "
                "given up: encode all prompts first, or load the model anew."
            )
        for start in range(0, len(new), AT_ONCE):
            part = new[start : start + AT_ONCE]
            tensors = encode(self._pipeline, part, self._family)
            on_cpu = {
                name: tensor.float().cpu() if tensor.is_floating_point() else tensor.cpu()
                for name, tensor in tensors.items()
            }
            for row, prompt in enumerate(part):
                self._rows[prompt] = {name: tensor[row] for name, tensor in on_cpu.items()}
        rows = [{**self._rows[prompt], **self._constants} for prompt in prompts]
        return Condition({name: torch.stack([r[name] for r in rows]) for name in rows[0]})

    def last_tokens(self, prompts: Sequence[str]) -> Tensor:
        """What the encoders make of the last token of each prompt that is no mark, (N, D).

        For families whose encoders read the same tokens, with one mark behind them.
        """
        states = self.encode(prompts).tensors["encoder_hidden_states"]
        reader = self._readers[0]
        last = [min(count, reader.longest) - 2 for count in reader.counts(prompts)]
        return states[torch.arange(len(last)), torch.tensor(last)]

    def null(self, negative_prompt: str | None) -> Condition:
        """One row of the negative prompt; None is the empty one, as the stock pipeline has it."""
        row = self.encode([negative_prompt or ""])
        if negative_prompt is None and self._zeros_for_empty:
            kept = self._constants
            return Condition(
                {n: t if n in kept else torch.zeros_like(t) for n, t in row.tensors.items()}
            )
        return row

    def free(self) -> None:
        """Give up the text encoders, so that their memory can be used for something else."""
        self._pipeline = None

    def to(self, device: torch.device | str) -> "PromptEncoder":
        if self._pipeline is not None:
            for encoder in self._family.encoders:
                module = getattr(self._pipeline, encoder)
                if module is not None:
                    module.to(device)
        return self
