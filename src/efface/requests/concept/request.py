"""Forget what prompts name: the request, and what a report says of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from efface.data.phrases import same_phrase
from efface.diffusion.model_folder import ModelInfo
from efface.errors import ConfigError, RequestError
from efface.evaluation.wording import join_words, plural, shorten
from efface.requests.base import (
    CONDITIONED,
    DETECTOR,
    RESULTS,
    Request,
    check_column,
    evaluate_names,
    has_words,
    require_text,
)
from efface.requests.concept.settings import ConceptSettings
from efface.requests.words import AppearanceWords, Phrases, keeping, source_of

if TYPE_CHECKING:
    from efface.records import RunRecord
    from efface.requests.concept.material import PromptMaterial
    from efface.settings.base import Settings

GROUPS = frozenset({"concept.prompt_groups", "concept.group_samples"})


class ConceptWords(AppearanceWords):
    """Words of a request to forget a concept."""

    request: ForgetConcept

    label: ClassVar[str] = "concept"
    pipeline_tag: ClassVar[str | None] = "text-to-image"
    unmeasured: ClassVar[str] = "That takes evaluate.detector or evaluate.clip."

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        replacement = self.request.replacement
        instead = "something else" if replacement is None else f"“{shorten(replacement)}”"
        own, every = (_name(requests) for requests in ([self.request], self.request.together))
        return Phrases(
            forgotten=every,
            rest="other samples",
            requested=f"The model {source_of(record)} was to forget {own} and to generate "
            f"{instead} instead.{keeping(self.request, f'{every} in all')}",
            many=bool(self.request.earlier),
        )

    def anonymous(self, record: RunRecord) -> str:
        count = len(self.request.together)
        return f"{'a' if count == 1 else count} {plural(count, 'concept')} chosen by the owner"


def _name(requests: Sequence[ForgetConcept]) -> str:
    concepts = join_words([f"“{shorten(request.concept)}”" for request in requests])
    return f"the {plural(len(requests), 'concept')} {concepts}"


# Methods of prompts cannot learn from copies of an image, but another prompt can take its place.
FROM_THE_ORIGINAL = (
    "its methods learn from prompts alone, without images. Forget the caption as a concept of the "
    "original model first, with `efface forget concept MODEL --concept CAPTION --prompt-pairs "
    "FILE`, where a line of FILE is the caption, a tab and a prompt that does not generate the "
    "image, and then make this request of the result"
)


class ForgetConcept(Request):
    """Forget a concept of a text-to-image model.

    What is generated instead is given in one of three ways: a replacement phrase, prompt pairs or
    keywords for a negative prompt. Every forget prompt is used under each name of the concept, and
    no retained prompt has one.
    """

    kind: Literal["concept"] = "concept"
    concept: str = Field(json_schema_extra={"several": True})
    """What to forget, as prompts name it."""
    also: tuple[str, ...] = Field(default=(), json_schema_extra={"of_one": True})
    """Another name of it, to forget as well."""
    replacement: str | None = Field(
        default=None, json_schema_extra={"option": "--replace", "several": True}
    )
    """The phrase that takes its place in a prompt."""
    forget_prompts: str | None = Field(default=None, json_schema_extra={"of_one": True})
    """Prompts that name the concept; default: templates."""
    retain_prompts: str | None = None
    """Retained prompts: a file or datasets:OWNER/NAME; default: templates."""
    prompt_pairs: str | None = None
    """Instead of --replace: prompts, each with its replacement."""
    negative: str | None = None
    """Instead of --replace: a file of keywords for a negative prompt."""
    caption_column: str | None = None
    """The column of prompts in tables; default: prompt, caption or text."""

    section: ClassVar[str] = "concept"
    own: ClassVar[type[BaseModel]] = ConceptSettings
    words_class: ClassVar[type[ConceptWords]] = ConceptWords
    need: ClassVar[str] = "conditions"
    supplies: ClassVar[frozenset[str]] = frozenset({"words"})
    keeps: ClassVar[frozenset[str]] = frozenset({"concept"})
    instead: ClassVar[Mapping[str, str]] = {"memorised": FROM_THE_ORIGINAL}
    text_recipe: ClassVar[str | None] = "concept-sfd"
    results: ClassVar[Mapping[str, str]] = RESULTS
    options: ClassVar[frozenset[str]] = frozenset({"result", "start", "size"})
    subject: ClassVar[str] = "prompts"
    measured: ClassVar[frozenset[str]] = CONDITIONED | GROUPS
    attacked: ClassVar[frozenset[str]] = evaluate_names(
        "baseline_steps", "guidance", "clip", *DETECTOR
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that the concept is called."""
        return (self.concept, *self.also)

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        for name in self.names:
            if not has_words(name):
                raise RequestError(f"the concept {name!r} has no words: give a phrase.")
        check_column(self.caption_column, self.retain_prompts, self.forget_prompts, self.negative)
        ways = (self.replacement, self.prompt_pairs, self.negative)
        if sum(way is not None for way in ways) != 1:
            raise RequestError(
                "what is generated instead must be clear: give a replacement phrase, a file of "
                "prompt pairs or a file of keywords for a negative prompt, and only one of them."
            )
        if self.replacement is None:
            self._check_without_phrase()
        elif not self.replacement.strip():
            raise RequestError("the replacement phrase is empty: give a phrase.")
        elif any(same_phrase(self.replacement, name) for name in self.names):
            raise RequestError(
                f"{self.replacement!r} was given as forgotten and as its own replacement: give "
                "another phrase."
            )
        return self

    def _check_without_phrase(self) -> None:
        if self.forget_prompts is not None:
            raise RequestError(
                "forget prompts were given beside prompt pairs or keywords, which hold them "
                "already: give one of the two."
            )
        if self.also:
            raise RequestError(
                "other names of the concept were given without a replacement phrase: write them as "
                "prompt pairs or keywords too."
            )

    def describe(self) -> str:
        others = ", ".join(repr(name) for name in self.also)
        return f"the concept {self.concept!r}" + (f", also called {others}" if others else "")

    @classmethod
    def suits(cls, model: ModelInfo) -> bool:
        return model.family is not None

    def check_files(self) -> None:
        from efface.data.prompts import check_prompts

        own = [(one.forget_prompts, one.negative, one.prompt_pairs) for one in self.together]
        for source in (self.retain_prompts, *itertools.chain(*own)):
            if source is not None:
                check_prompts(source)

    def check(self, model: ModelInfo, settings: Settings) -> None:
        """Raise RequestError for a model without prompts, ConfigError for settings of no effect."""
        require_text(model)
        self._check_settings(settings)
        if "words" in settings.method.needs and any(o.replacement is None for o in self.together):
            raise ConfigError(
                f"method {settings.method_name!r} edits the words of a concept: give a replacement "
                "phrase, in place of prompt pairs or keywords."
            )
        negative = any(one.negative is not None for one in self.together)
        if negative and not settings.method.guides_teacher:
            raise ConfigError(
                "keywords for a negative prompt have no effect without guidance of the teacher: "
                "set method.teacher_guidance above 1, as recipes/nudity-sfd.toml does."
            )

    @staticmethod
    def _check_settings(settings: Settings) -> None:
        """Raise ConfigError for settings of prompts that the method does not read."""
        from efface.requests.concept.settings import ConceptSettings

        concept, method = settings.of(ConceptSettings), settings.method
        unread = () if method.reads_negative else ("gibberish", "forget_guidance")
        if not method.phases:  # edited in closed form: there are no rows
            unread = (*unread, "interpolation")
        for name in unread:
            if getattr(concept, name):
                raise ConfigError(
                    f"concept.{name} has no effect with method {settings.method_name!r}: leave it "
                    "out, or choose another method."
                )

    def read(self, model: ModelInfo, settings: Settings) -> PromptMaterial:
        from efface.requests.concept.material import read_concept

        return read_concept(self, model, settings)
