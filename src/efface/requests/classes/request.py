"""Forget labels of a class-conditional model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from efface.diffusion.class_networks import describe_labels
from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError
from efface.requests.base import CONDITIONED, Request, evaluate_names, require_classes
from efface.requests.classes.labels import find_label
from efface.requests.classes.words import ClassWords

if TYPE_CHECKING:
    from efface.requests.classes.material import ClassMaterial
    from efface.settings.base import Settings


class ForgetClass(Request):
    """Forget labels of a class-conditional model, without data."""

    kind: Literal["class"] = "class"
    labels: tuple[int | str, ...] = Field(
        description="A label to forget, by its number or name.",
        json_schema_extra={"option": "--label"},
    )
    replacement: tuple[int | str, ...] = Field(
        default=(),
        description="A label to generate instead, or 'random' for all retained ones.",
        json_schema_extra={"option": "--replace"},
    )

    section: ClassVar[str] = "class"
    words_class: ClassVar[type[ClassWords]] = ClassWords
    need: ClassVar[str] = "conditions"
    options: ClassVar[frozenset[str]] = frozenset({"start", "judge", "null_label", "size"})
    subject: ClassVar[str] = "a class-conditional model"
    measured: ClassVar[frozenset[str]] = CONDITIONED
    attacked: ClassVar[frozenset[str]] = evaluate_names("baseline_steps", "guidance", "reference")

    @field_validator("replacement", mode="before")
    @classmethod
    def _random(cls, given: Any) -> Any:
        return () if given is not None and list(given) == ["random"] else given

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        if not self.labels:
            raise RequestError("no label to forget was given: name at least one.")
        for labels in (self.labels, self.replacement):
            if len(set(labels)) < len(labels):
                raise RequestError(f"labels {list(labels)} name one twice: give each once.")
        both = [label for label in self.labels if label in self.replacement]
        if both:
            raise RequestError(
                f"label {both[0]} was given as forgotten and as its own replacement: a replacement "
                "must be a retained label."
            )
        return self

    def describe(self) -> str:
        label = "label" if len(self.labels) == 1 else "labels"
        return f"{label} {', '.join(map(str, self.labels))}"

    @classmethod
    def suits(cls, model: ModelInfo) -> bool:
        return model.num_classes is not None

    def retained(self, labels: Sequence[int]) -> list[int]:
        return [label for label in labels if label not in self.labels]

    def of(self, model: ModelInfo) -> Self:
        """The same request with the numbers of labels in place of their names."""
        require_classes(model)
        labels, instead = (
            tuple(find_label(label, model) for label in given)
            for given in (self.labels, self.replacement)
        )
        return type(self)(labels=labels, replacement=instead)

    def check(self, model: ModelInfo, settings: Settings) -> None:
        """Raise RequestError unless the model has these labels and at least one is retained."""
        classes, labelled = require_classes(model), describe_labels(model.labels)
        for word, labels in (("forgotten", self.labels), ("a replacement", self.replacement)):
            for label in labels:
                if label not in model.labels:
                    null = ", and that is its null label" if label == model.null_label else ""
                    raise RequestError(
                        f"label {label} cannot be {word}: {model.source} has {labelled}{null}. "
                        "Pass one of these."
                    )
        if len(self.labels) == classes:
            raise RequestError(
                f"all {classes} labels were to be forgotten: at least one must be retained."
            )

    def read(self, model: ModelInfo, settings: Settings) -> ClassMaterial:
        from efface.requests.classes.material import ClassMaterial

        known = self.of(model)
        return ClassMaterial(
            forget=tuple(map(int, known.labels)),
            retain=tuple(known.retained(model.labels)),
            replacement=tuple(map(int, known.replacement)),
        )
