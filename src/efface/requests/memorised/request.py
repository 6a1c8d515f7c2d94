"""Forget the image memorised for a prompt: the request, and what a report says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from efface.data.phrases import same_phrase
from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError
from efface.evaluation.wording import format_count, format_share, join_words, shorten
from efface.requests.base import (
    EXTRACTOR,
    SHARED,
    Request,
    check_column,
    evaluate_names,
    has_words,
    require_text,
)
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.words import Phrases, Words, keeping, source_of

if TYPE_CHECKING:
    from efface.memory.estimate import Amounts
    from efface.records import Evaluation, RunRecord
    from efface.requests.memorised.material import MemorisedMaterial
    from efface.settings.base import Settings


class MemorisedWords(Words):
    """Words of a request to forget the image memorised for a prompt."""

    request: ForgetMemorised

    label: ClassVar[str] = "memorised image"
    pipeline_tag: ClassVar[str | None] = "text-to-image"
    unknown: ClassVar[str] = "Whether another prompt still finds it is not known."

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        together = self.request.together
        several = len(together) > 1
        every = f"the images memorised for {join_words([_quoted(one) for one in together])}"
        asked = (
            f"The model {source_of(record)} was to forget the image memorised for "
            f"{_quoted(self.request)}.{keeping(self.request, f'{every} in all')}"
        )
        return Phrases(
            forgotten=every if several else "the memorised image",
            rest="samples of other prompts",
            requested=f"{asked} {self._modified(record.notes)}".strip(),
            many=several,
        )

    def anonymous(self, record: RunRecord) -> str:
        count = len(self.request.together)
        return (
            f"images memorised for {count} prompts"
            if count > 1
            else "an image memorised for one prompt"
        )

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        return [
            "The model was trained on its own samples: what it generates badly was taught once "
            "more."
        ]

    def _modified(self, notes: Mapping[str, Any]) -> str:
        """What the training images were generated for, as far as that is recorded."""
        share, copies, others = (notes.get(key) for key in ("modified_share", "copies", "others"))
        if not (isinstance(share, float) and isinstance(copies, int) and isinstance(others, int)):
            return ""
        text = str(notes.get("modified_prompt"))
        prompt, how = f"a prompt “{shorten(text)}”", "found by changing words"
        if text == self.request.prompt:
            prompt, how = "that prompt", "unchanged"
        elif text == self.request.modified_prompt:
            how = "given with the request"
        return (
            f"It was trained on {format_count(copies)} copies and {format_count(others)} other "
            f"samples of {prompt} ({how}; {format_share(share)} of its trial samples are copies)."
        )


def _quoted(request: ForgetMemorised) -> str:
    return f"“{shorten(request.prompt)}”"


# Methods of prompts forget a caption too: another prompt takes its place.
ON_THE_RUN = (
    "its methods need images that show what is forgotten. Forget the caption as a concept of that "
    "run, with `efface forget concept RUN --concept CAPTION --prompt-pairs FILE`, where a line of "
    "FILE is the caption, a tab and a prompt that does not generate the image"
)


class ForgetMemorised(Request):
    """Forget the image that a text-to-image model has memorised for a prompt."""

    kind: Literal["memorised"] = "memorised"
    prompt: str = Field(json_schema_extra={"several": True})
    """The caption for which a training image is generated."""
    image: str | None = Field(default=None, json_schema_extra={"several": True})
    """That image; default: the one that samples of the prompt agree on."""
    modified_prompt: str | None = Field(default=None, json_schema_extra={"of_one": True})
    """A prompt that generates it only sometimes; default: searched for."""
    control_prompts: str | None = None
    """Similar prompts without memorised images; default: templates."""
    caption_column: str | None = None
    """The column of prompts in tables; default: prompt, caption or text."""

    section: ClassVar[str] = "memorised"
    own: ClassVar[type[BaseModel]] = MemorisedSettings
    words_class: ClassVar[type[MemorisedWords]] = MemorisedWords
    need: ClassVar[str] = "images"
    supplies: ClassVar[frozenset[str]] = frozenset({"images", "prior"})
    keeps: ClassVar[frozenset[str]] = frozenset({"memorised"})
    instead: ClassVar[Mapping[str, str]] = {"concept": ON_THE_RUN}
    default_method: ClassVar[str] = "siss"
    text_recipe: ClassVar[str | None] = "memorised-siss"
    options: ClassVar[frozenset[str]] = frozenset({"size", "start"})
    same_sampler: ClassVar[bool] = True
    subject: ClassVar[str] = "a memorised image"
    measured: ClassVar[frozenset[str]] = evaluate_names(
        *SHARED, *EXTRACTOR, "clip", "guidance", "forget_samples", "retain_samples"
    ) | {"memorised.extractor"}

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        check_column(self.caption_column, self.control_prompts)
        for name, text in (("prompt", self.prompt), ("modified prompt", self.modified_prompt)):
            if text is not None and not has_words(text):
                raise RequestError(f"the {name} {text!r} has no words: give the caption.")
        if self.modified_prompt is not None and same_phrase(self.prompt, self.modified_prompt):
            raise RequestError(
                f"{self.prompt!r} was given as the prompt and as its own modification: change a "
                "word, or leave the modified prompt out and one is searched for."
            )
        return self

    @property
    def controls(self) -> tuple[str | None, str | None]:
        """Control prompts of this request, or of the last one that gave any, and their column."""
        given = [(one.control_prompts, one.caption_column) for one in self.together]
        return next((one for one in reversed(given) if one[0] is not None), (None, None))

    def describe(self) -> str:
        return f"the image memorised for {self.prompt!r}"

    @classmethod
    def suits(cls, model: ModelInfo) -> bool:
        return model.family is not None

    @classmethod
    def expected_amounts(cls, model: ModelInfo, settings: Settings) -> Amounts:
        from efface.requests.memorised.material import expected_amounts

        return expected_amounts(model, settings)

    def check_files(self) -> None:
        from efface.data.images import check_source
        from efface.data.prompts import check_prompts

        for source in (one.image for one in self.together):
            if source is not None:
                check_source(source)
        if self.controls[0] is not None:
            check_prompts(self.controls[0])

    def packed(self, run: Path) -> dict[str, bytes]:
        from efface.requests.memorised.stages import FOLDER, pack_preparation

        there = (run / FOLDER).exists()
        return pack_preparation(run, len(self.together)) if there else {}

    def check(self, model: ModelInfo, settings: Settings) -> None:
        """Raise RequestError for a model without prompts, ConfigError for what never begins."""
        from efface.requests.memorised.checks import check_settings

        require_text(model)
        check_settings(model, settings, len(self.together))

    def read(self, model: ModelInfo, settings: Settings) -> MemorisedMaterial:
        from efface.requests.memorised.material import read_memorised

        return read_memorised(self, model, settings)
