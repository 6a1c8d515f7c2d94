"""Requests about prompts: which ones are forgotten, for what, and what the loop is fed with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import transformers

from efface.data.prompts import (
    fill_templates,
    names,
    nonsense,
    read_pairs,
    read_prompts,
    replace_phrase,
    spread,
)
from efface.data.source import ConditionSource
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.families import tokenizer_of
from efface.diffusion.text.prompts import PromptEncoder, Reader, shortened
from efface.errors import ConfigError, RequestError
from efface.records import RunRecord
from efface.requests.base import DistilText, ForgetConcept, read_request
from efface.settings.reading import PromptsConfig, Settings

TextRequest = ForgetConcept | DistilText


@dataclass(frozen=True, kw_only=True)
class ConceptPrompts:
    """All prompts of a run; `targets` has one per prompt to forget.

    `negative` is the null condition that guidance leads away from, None the model's own; `keywords`
    says that prompts to forget are made of words which are shown nowhere. `nonsense` are prompts
    that stay as well, with words that mean nothing, and are not measured: they are answered as
    before, but led away from `away`, and what prompts to forget are answered with may be too.
    `dropped` counts prompts that were given to retain and ask for what is to go.
    """

    forget: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    retain: tuple[str, ...]
    nonsense: tuple[str, ...] = ()
    away: str | None = None
    negative: str | None = None
    keywords: bool = False
    dropped: int = 0

    @property
    def different(self) -> list[str]:
        """Every prompt once: the rows of a run's table."""
        every = (*self.retain, *self.nonsense, *self.forget, *self.targets)
        return list(dict.fromkeys(every))

    @property
    def led_from(self) -> list[str]:
        """What guidance leads away from, besides the null condition."""
        return [] if self.away is None else [self.away]

    @property
    def digest(self) -> str:
        content: list[Any] = [self.forget, self.targets, self.retain, self.negative]
        if self.nonsense:
            content.append(self.nonsense)
        if self.away is not None:
            content.append(self.away)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def complete(self, request: TextRequest) -> TextRequest:
        """The request with the digest of its prompts."""
        return request.model_copy(update={"digest": self.digest})

    def notes(self) -> dict[str, Any]:
        """What a record says of the prompts: how many there are, and none of them."""
        counts = {"forget_prompts": len(self.forget), "retain_prompts": len(self.retain)}
        if self.nonsense:
            counts["nonsense_prompts"] = len(self.nonsense)
        return counts | {"retain_prompts_dropped": self.dropped}


def read_concept_prompts(request: TextRequest, config: PromptsConfig) -> ConceptPrompts:
    """Read or make all prompts of a request; DataError or RequestError for what cannot be used."""
    if isinstance(request, DistilText):
        return ConceptPrompts(retain=tuple(spread(_retained(request, config), config.retain)))
    negative = None
    unwanted = list(request.names)
    if request.prompt_pairs is not None:
        pairs = read_pairs(request.prompt_pairs)
    elif request.negative is not None:
        keywords = read_prompts(request.negative)
        pairs = _keyword_pairs(keywords, config.people)
        negative = ", ".join(keywords)
        unwanted += keywords
    else:
        pairs = _phrase_pairs(request, config)
    forget, targets = (tuple(side) for side in zip(*pairs, strict=True))
    given = _retained(request, config)
    same = {prompt.casefold() for prompt in forget}
    kept = [
        prompt for prompt in given if prompt.casefold() not in same and not names(prompt, *unwanted)
    ]
    if not kept:
        raise RequestError(
            f"every prompt to retain asks for {request.concept!r} itself: at least one must stay, "
            "give others."
        )
    retain = spread(kept, config.retain)
    return ConceptPrompts(
        forget=forget,
        targets=targets,
        retain=tuple(retain),
        nonsense=tuple(_nonsense(len(retain), config, unwanted)),
        away=_away(request.names, negative, config),
        negative=negative,
        keywords=request.negative is not None,
        dropped=len(given) - len(kept),
    )


def _retained(request: TextRequest, config: PromptsConfig) -> list[str]:
    """Prompts that stay as they were given, or templates filled with subjects.

    The replacement is one of these subjects: it is to look as it did.
    """
    if request.retain_prompts is not None:
        return read_prompts(request.retain_prompts)
    subjects = list(config.subjects)
    if isinstance(request, ForgetConcept) and request.replacement is not None:
        subjects.append(request.replacement)
    return fill_templates(config.templates, subjects)


def _phrase_pairs(request: ForgetConcept, config: PromptsConfig) -> list[tuple[str, str]]:
    """Every prompt to forget under every name of the concept, and with the replacement."""
    assert request.replacement is not None  # the request was checked
    if request.forget_prompts is None:
        prompts = fill_templates(config.templates, [request.concept])
    else:
        prompts = read_prompts(request.forget_prompts)
    pairs: dict[str, str] = {}
    for prompt in prompts:
        if not names(prompt, *request.names):
            known = " or ".join(map(repr, request.names))
            raise RequestError(
                f"{known} does not occur in the prompt {shortened(prompt)}, so nothing in it can "
                "be replaced: leave it out, or give prompt pairs."
            )
        target = replace_phrase(prompt, request.names, request.replacement)
        left = [name for name in request.names if names(target, name)]
        if left:
            raise RequestError(
                f"the replacement {request.replacement!r} still names {left[0]!r}, in the prompt "
                f"{shortened(target)}: give a phrase without it."
            )
        missing = [name for name in request.names if not names(prompt, name)]
        renamed = [replace_phrase(prompt, request.names, name) for name in missing]
        pairs |= dict.fromkeys([prompt, *renamed], target)
    return list(pairs.items())


def _nonsense(retained: int, config: PromptsConfig, unwanted: Sequence[str]) -> list[str]:
    """So many prompts beside the `retained` ones that they are their share of all that stay."""
    count = round(config.nonsense / (1 - config.nonsense) * retained)
    found = nonsense(count + len(unwanted))
    words = [word for word in found if not names(word, *unwanted)][:count]
    templates = [config.templates[i % len(config.templates)] for i in range(count)]
    return [fill_templates([t], [word])[0] for t, word in zip(templates, words, strict=True)]


def _away(names_: Sequence[str], negative: str | None, config: PromptsConfig) -> str | None:
    """What guidance of some rows leads away from; None: of no row."""
    if not (config.nonsense or config.forget_guidance):
        return None
    return negative or ", ".join(names_)


def _keyword_pairs(keywords: Sequence[str], people: Sequence[str]) -> list[tuple[str, str]]:
    """Every keyword before and behind every subject; the bare subject is the target."""
    return [
        (prompt, person)
        for person in people
        for keyword in keywords
        for prompt in (f"{keyword} {person}", f"{person}, {keyword}")
    ]


def recorded_prompts(record: RunRecord, config: PromptsConfig) -> ConceptPrompts:
    """The prompts of a run, read again; RequestError where they have changed since."""
    kind = ForgetConcept if record.request.get("kind") == "concept" else DistilText
    request = read_request(kind, record.request)
    prompts = read_concept_prompts(request, config)
    if prompts.digest != request.digest:
        raise RequestError(
            "the prompt files of this run no longer hold its prompts: restore them, or run again."
        )
    return prompts


def check_text_settings(settings: Settings, prompts: ConceptPrompts) -> None:
    """Raise ConfigError where keywords were given and no guidance leads away from them."""
    guidance = settings.to_json()["method"].get("teacher_guidance", 1.0)
    if prompts.negative is not None and guidance <= 1.0:
        raise ConfigError(
            "words to guide away from are without effect at method.teacher_guidance 1: set it "
            "above 1, as recipes/nudity-sfd.toml does."
        )


def check_lengths(info: ModelInfo, prompts: ConceptPrompts) -> None:
    """Raise RequestError for a prompt that is too long, with the tokenizers alone.

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
    negative = [] if prompts.negative is None else [prompts.negative]
    every = [*prompts.different, *prompts.led_from, *negative]
    PromptEncoder(info.family, encoder_free, readers, {}).check(every)


def as_text_denoiser(denoiser: Denoiser) -> TextDenoiser:
    """A denoiser that is known to take prompts: the request was checked against the model."""
    assert isinstance(denoiser, TextDenoiser)
    return denoiser


def encode_prompts(
    denoiser: TextDenoiser, prompts: ConceptPrompts, more: Sequence[str] = ()
) -> TextDenoiser:
    """Encode all prompts and both null conditions of a run, then give up the text encoders.

    `more` are prompts that are measured and not trained on.
    The denoiser that is handed back has the run's own null condition.
    """
    denoiser.encode([*prompts.different, *prompts.led_from, *more])
    denoiser.prompts.null(None)
    return denoiser.with_negative_prompt(prompts.negative).without_encoders()


def concept_source(
    denoiser: TextDenoiser,
    prompts: ConceptPrompts,
    settings: Settings,
    device: torch.device,
) -> ConditionSource:
    """What the loop is fed with: rows of one table that all networks share."""
    method, config = settings.method, settings.train
    different = prompts.different
    row = {prompt: number for number, prompt in enumerate(different)}
    return ConditionSource(
        table=denoiser.encode(different).to(device),
        retain=[row[prompt] for prompt in prompts.retain],
        forget=[row[prompt] for prompt in prompts.forget],
        replacements=[[row[target]] for target in prompts.targets],
        retain_rows=config.batch_size,
        forget_rows=round(method.forget_share * config.batch_size) if prompts.forget else 0,
        seed=config.seed,
        reach=settings.prompts.reach,
        null=denoiser.prompts.null(None).to(device),
        null_share=settings.prompts.reach_null,
        nonsense=[row[prompt] for prompt in prompts.nonsense],
        away_rows=round(settings.prompts.nonsense * config.batch_size) if prompts.nonsense else 0,
        away=denoiser.encode([prompts.away]).to(device) if prompts.away else None,
        away_guidance=settings.prompts.nonsense_guidance,
        forget_guidance=settings.prompts.forget_guidance,
    )
