"""Forget nothing yet: make the one-step generator that later requests start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError
from efface.requests.base import (
    CONDITIONED,
    Material,
    Request,
    check_column,
    require_classes,
    require_text,
)
from efface.requests.words import Phrases, PlainWords, source_of
from efface.settings.reading import Section

if TYPE_CHECKING:
    from efface.memory.estimate import Amounts
    from efface.records import RunRecord
    from efface.settings.base import Settings


class DistilWords(PlainWords):
    """Words of a request to distil."""

    label: ClassVar[str] = "distillation"
    made: ClassVar[str] = "in one step"

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        requested = (
            f"The model {source_of(record)} was distilled to sample in one step, with nothing to "
            "forget."
        )
        return Phrases(forgotten="nothing", rest="the samples of the model", requested=requested)

    def anonymous(self, record: RunRecord) -> str:
        return "nothing yet"

    def task(self, record: RunRecord) -> str | None:
        return "text-to-image" if record.model.get("classes") is None else None


class DistilSettings(Section):
    """Prompts of a text-to-image model to distil, addressed as `distil.NAME`."""

    retain: int = Field(default=500, ge=1, le=1_000_000)
    """Prompts, at most."""


class Distil(Request):
    """Make a one-step generator that forgets nothing.

    Later requests can start from it.
    """

    kind: Literal["distil"] = "distil"
    retain_prompts: str | None = None
    """Prompts of a text-to-image model: a file or datasets:OWNER/NAME; default: templates."""
    caption_column: str | None = None
    """The column of prompts in tables; default: prompt, caption or text."""

    section: ClassVar[str] = "distil"
    own: ClassVar[type[BaseModel]] = DistilSettings
    words_class: ClassVar[type[DistilWords]] = DistilWords
    need: ClassVar[str] = "conditions"
    text_recipe: ClassVar[str | None] = "concept-sfd"
    options: ClassVar[frozenset[str]] = frozenset({"judge", "null_label", "size"})
    forgets: ClassVar[bool] = False
    subject: ClassVar[str] = "a distilled model"
    measured: ClassVar[frozenset[str]] = CONDITIONED
    attacked: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="after")
    def _check_column(self) -> Self:
        check_column(self.caption_column, self.retain_prompts)
        return self

    def describe(self) -> str:
        return "nothing"

    @classmethod
    def suits(cls, model: ModelInfo) -> bool:
        return model.family is not None or model.num_classes is not None

    @classmethod
    def expected_amounts(cls, model: ModelInfo, settings: Settings) -> Amounts:
        from efface.memory.estimate import Amounts

        return Amounts(forget_rows=0)

    def check_files(self) -> None:
        from efface.data.prompts import check_prompts

        if self.retain_prompts is not None:
            check_prompts(self.retain_prompts)

    def check(self, model: ModelInfo, settings: Settings) -> None:
        """Raise RequestError for a model without labels and prompts."""
        if self.retain_prompts is not None:
            require_text(model)
        elif not self.suits(model):
            raise RequestError(
                f"{model.source} is unconditional, and a one-step generator is distilled under "
                "labels or prompts: give a model that takes either."
            )

    def read(self, model: ModelInfo, settings: Settings) -> Material:
        if model.family is None:
            from efface.requests.classes.material import ClassMaterial

            require_classes(model)
            return ClassMaterial(retain=model.labels, replacements={})
        from efface.requests.concept.material import read_retained

        return read_retained(
            self.retain_prompts,
            settings.of(DistilSettings).retain,
            model,
            settings,
            self.caption_column,
        )
