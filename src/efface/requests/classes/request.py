"""Forget labels of a class-conditional model: the request, and what a report says of it."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from efface.diffusion.class_networks import describe_labels
from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError
from efface.evaluation.wording import format_count, join_words, number_word, plural, shorten
from efface.requests.base import CONDITIONED, RESULTS, Request, evaluate_names, require_classes
from efface.requests.classes.settings import ClassSettings
from efface.requests.words import AppearanceWords, Phrases, keeping, source_of

SHOWN = 20  # names in a sentence

if TYPE_CHECKING:
    from efface.records import RunRecord
    from efface.requests.classes.material import ClassMaterial
    from efface.settings.base import Settings


class ClassWords(AppearanceWords):
    """Words of a request to forget labels."""

    request: ForgetClass

    label: ClassVar[str] = "class"
    unmeasured: ClassVar[str] = (
        "That takes a classifier that recognises the classes: give your own with --judge, or train "
        "one with `efface classifier`."
    )

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        labels, replacement = list(self.request.replacements), self.request.replacement
        names = {**_recorded_names(record), **names}
        forgotten, own = _name(labels, names), _name(self.request.labels, names)
        rest = _others(record.model.get("classes"), len(labels))
        instead = _name(replacement, names) if replacement else f"one of {rest} at random"
        return Phrases(
            forgotten=forgotten,
            rest=rest,
            requested=f"The model {source_of(record)} was to forget {own} and to generate "
            f"{instead} instead.{keeping(self.request, f'{forgotten} in all')}",
            many=len(labels) > 1,
            rest_count=1 if rest == "the other class" else 2,
        )

    def anonymous(self, record: RunRecord) -> str:
        labels, classes = list(self.request.replacements), record.model.get("classes")
        of = f" of {format_count(classes)}" if isinstance(classes, int) else ""
        return f"{plural(len(labels), 'label')} {join_words([str(label) for label in labels])}{of}"


def _recorded_names(record: RunRecord) -> dict[Any, str]:
    """Names of labels; a record may hold any JSON in their place."""
    names = record.model.get("id2label")
    if not isinstance(names, dict):
        return {}
    return {int(k): shorten(str(name)) for k, name in names.items() if str(k).isdecimal()}


def _name(labels: Sequence[int | str], names: Mapping[Any, str]) -> str:
    words = []
    for label in labels:
        name = names.get(label, str(label))
        words.append(str(label) if name == str(label) else f"{label} ({name})")
    return f"{plural(len(labels), 'class', 'classes')} {join_words(words)}"


def _others(classes: object, forgotten: int) -> str:
    if not isinstance(classes, int) or classes <= forgotten:
        return "the other classes"
    count = classes - forgotten
    return "the other class" if count == 1 else f"the other {number_word(count)} classes"


class ForgetClass(Request):
    """Forget labels of a class-conditional model, without data."""

    kind: Literal["class"] = "class"
    labels: tuple[int | str, ...] = Field(json_schema_extra={"option": "--label"})
    """A label to forget, by its number or name."""
    replacement: tuple[int | str, ...] = Field(
        default=(), json_schema_extra={"option": "--replace"}
    )
    """A label to generate instead, or 'random' for all retained ones."""

    section: ClassVar[str] = "class"
    own: ClassVar[type[BaseModel]] = ClassSettings
    words_class: ClassVar[type[ClassWords]] = ClassWords
    need: ClassVar[str] = "conditions"
    supplies: ClassVar[frozenset[str]] = frozenset({"images"})
    keeps: ClassVar[frozenset[str]] = frozenset({"class"})
    results: ClassVar[Mapping[str, str]] = RESULTS
    options: ClassVar[frozenset[str]] = frozenset(
        {"result", "start", "judge", "null_label", "size"}
    )
    subject: ClassVar[str] = "a class-conditional model"
    measured: ClassVar[frozenset[str]] = CONDITIONED
    attacked: ClassVar[frozenset[str]] = evaluate_names("baseline_steps", "guidance", "reference")

    @field_validator("labels", "replacement", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        """Labels in one text: "4,7"."""
        if not isinstance(given, (list, tuple)) or not all(isinstance(g, str) for g in given):
            return given
        return [part.strip() for text in given for part in text.split(",") if part.strip()]

    @field_validator("replacement", mode="before")
    @classmethod
    def _random(cls, given: Any) -> Any:
        return () if given in (["random"], ("random",)) else given

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
        before = [label for one in self.together[:-1] for label in one.labels]
        gone = [label for label in self.replacement if label in before]
        if gone:
            raise RequestError(
                f"label {gone[0]} was forgotten before and cannot take the place of another: a "
                "replacement must be a retained label."
            )
        return self

    def describe(self) -> str:
        label = "label" if len(self.labels) == 1 else "labels"
        return f"{label} {', '.join(map(str, self.labels))}"

    @classmethod
    def suits(cls, model: ModelInfo) -> bool:
        return model.num_classes is not None

    def of(self, model: ModelInfo) -> Self:
        """The same request with the numbers of labels in place of their names."""
        require_classes(model)
        labels, instead = (
            tuple(dict.fromkeys(find_label(label, model) for label in given))
            for given in (self.labels, self.replacement)
        )
        earlier = tuple(one.of(model) for one in self.earlier)
        return type(self)(labels=labels, replacement=instead, earlier=earlier)

    @property
    def replacements(self) -> dict[int | str, tuple[int | str, ...]]:
        """What takes the place of each label that is forgotten; empty: any retained label.

        A replacement that was itself forgotten later gives way to its own.
        """
        found: dict[int | str, tuple[int | str, ...]] = {}
        for request in reversed(self.together):
            chosen = [found.get(label, (label,)) for label in request.replacement]
            own = () if () in chosen else tuple(dict.fromkeys(itertools.chain(*chosen)))
            found = dict.fromkeys(request.labels, own) | found
        return found

    def retained(self, labels: Sequence[int]) -> list[int]:
        return [label for label in labels if label not in self.replacements]

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
        if not self.retained(model.labels):
            raise RequestError(
                f"all {classes} labels were to be forgotten: at least one must be retained."
            )
        source = settings.of(ClassSettings).images
        if source is not None:
            from efface.data.images import check_source

            check_source(source)

    def read(self, model: ModelInfo, settings: Settings) -> ClassMaterial:
        from efface.requests.classes.images import read_labelled
        from efface.requests.classes.material import ClassMaterial

        known, source = self.of(model), settings.of(ClassSettings).images
        needed = "images" in settings.method.needs
        return ClassMaterial(
            images=read_labelled(source, model) if source and needed else None,
            replacements={int(k): tuple(map(int, own)) for k, own in known.replacements.items()},
            retain=tuple(known.retained(model.labels)),
            requests=len(known.together),
        )


def find_label(given: int | str, model: ModelInfo) -> int:
    """The number of a label; RequestError for a name that is unknown, or of more than one.

    A name is the whole of it or a part between commas, as data sets list synonyms. `number:3` and
    `name:3` say which of both is meant. Whether the model has such a number is not checked here.
    """
    if isinstance(given, int):
        return given
    kind, mark, rest = given.partition(":")
    text = rest if mark and kind in ("number", "name") else given
    named = [label for label, name in model.names.items() if _plain(text) in _called(name)]
    found = set(named) if text == given or kind == "name" else set()
    if re.fullmatch(r"-?[0-9]{1,9}", text.strip()) and (text == given or kind == "number"):
        found.add(int(text))
    if len(found) > 1:
        both = " and ".join(map(str, sorted(found)))
        raise RequestError(
            f"{given!r} is more than one label of {model.source}, {both}: give the "
            f"number, as number:{min(found)}."
        )
    if not found:
        raise RequestError(f"{given!r} is no label of {model.source}: {_known(text, model)}.")
    return found.pop()


def _known(text: str, model: ModelInfo) -> str:
    """What could be given instead."""
    names = [name for _, name in sorted(model.names.items())]
    if not names:
        return f"its labels have no names, so give a number, one of {describe_labels(model.labels)}"
    near = difflib.get_close_matches(text, names, 3)
    first = [*near, *(name for name in names if name not in near)][:SHOWN]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"it has {', '.join(first)}{more}"


def _called(name: str) -> set[str]:
    return {_plain(part) for part in (name, *name.split(","))}


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
