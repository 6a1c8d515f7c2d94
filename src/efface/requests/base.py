"""What must go: frozen, JSON, no tensors, checked before anything heavy is loaded."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from efface.diffusion.model_folder import ModelInfo
from efface.errors import DataError, RequestError

R = TypeVar("R", bound=BaseModel)


class ForgetClass(BaseModel):
    """Forget `labels`; the model draws `replacement` instead, at random among the rest if empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["class"] = "class"
    labels: tuple[int, ...]
    replacement: tuple[int, ...] = ()

    def check(self, info: ModelInfo) -> None:
        """Raise RequestError unless the model has these labels and something stays."""
        classes = _classes(info)
        if not self.labels:
            raise RequestError("no label to forget was given: name at least one.")
        for word, labels in (("forgotten", self.labels), ("a replacement", self.replacement)):
            for label in labels:
                if not 0 <= label < classes:
                    raise RequestError(
                        f"label {label} cannot be {word}: {info.source} has labels 0 to "
                        f"{classes - 1}. Pass one of these."
                    )
            if len(set(labels)) < len(labels):
                raise RequestError(f"labels {list(labels)} name one twice: give each once.")
        both = sorted(set(self.labels) & set(self.replacement))
        if both:
            raise RequestError(
                f"label {both[0]} was given as forgotten and as its own replacement: a replacement "
                "must be a label that stays."
            )
        if len(self.labels) == classes:
            raise RequestError(
                f"all {classes} labels were to be forgotten: at least one must stay."
            )

    def retained(self, classes: int) -> list[int]:
        return [label for label in range(classes) if label not in self.labels]

    def describe(self) -> str:
        label = "label" if len(self.labels) == 1 else "labels"
        return f"{label} {', '.join(map(str, self.labels))}"


class Distil(BaseModel):
    """Forget nothing yet: make the one-step generator that later requests start from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["distil"] = "distil"

    def check(self, info: ModelInfo) -> None:
        _classes(info)


class ForgetImages(BaseModel):
    """Forget the pictures in `images`, a folder or parquet file.

    `retain` names images that stay, or "generate" for images that the model draws itself.
    `unseen` names images that the model was not trained on: what "as if never seen" is measured
    against. `prior` is the share of the pictures in the training data, where it is known. `names`
    and `hashes` are filled in by the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["images"] = "images"
    images: str
    retain: str = "generate"
    unseen: str | None = None
    prior: float | None = None
    names: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()

    def check(self, info: ModelInfo) -> None:
        """Raise RequestError unless the model is one whose pictures can be told from noise."""
        if info.num_classes is not None or info.vae:
            kind = "works on latents" if info.vae else "is class-conditional"
            raise RequestError(
                f"{info.source} {kind}, and pictures can be forgotten from unconditional pixel "
                "models: give one of those, or forget a class, "
                "a concept or the picture memorised for a caption."
            )
        if self.prior is not None and not 0 < self.prior < 1:
            raise RequestError(
                f"prior {self.prior} is no share of a training set: give one between 0 and 1."
            )

    def describe(self) -> str:
        return f"{len(self.names)} picture{'' if len(self.names) == 1 else 's'}"


class DistilText(BaseModel):
    """Forget nothing yet: make a text-to-image model's one-step generator.

    `retain_prompts` is a file or data set of prompts, None fills templates. `digest` is filled in
    by the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["distil"] = "distil"
    retain_prompts: str | None = None
    digest: str = ""

    def check(self, info: ModelInfo) -> None:
        _require_text(info)


class ForgetConcept(BaseModel):
    """Forget `concept`: prompts that name it are answered as other prompts are.

    What is answered instead is said in one of three ways: `replacement`, a phrase that takes the
    concept's place in a prompt; `prompt_pairs`, a file of prompts with their targets; `negative`,
    a file of keywords that the teacher is guided away from. `also` are other names of the concept:
    every prompt to forget is asked for under each, and no prompt that stays has one.
    `forget_prompts` and `retain_prompts` are files or data sets, None fills templates. `digest`,
    of all prompts, is filled in by the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["concept"] = "concept"
    concept: str
    also: tuple[str, ...] = ()
    replacement: str | None = None
    forget_prompts: str | None = None
    retain_prompts: str | None = None
    prompt_pairs: str | None = None
    negative: str | None = None
    digest: str = ""

    def check(self, info: ModelInfo) -> None:
        """Raise RequestError unless the model takes prompts and it is clear what is answered."""
        _require_text(info)
        for name in self.names:
            if not any(map(str.isalnum, name)):
                raise RequestError(f"the concept {name!r} has no words: give a phrase.")
        ways = (self.replacement, self.prompt_pairs, self.negative)
        if sum(way is not None for way in ways) != 1:
            raise RequestError(
                "it must be clear what is drawn instead: give a replacement phrase, a file of "
                "prompt pairs or a file of keywords to guide away from, and only one of them."
            )
        if self.replacement is None and self.forget_prompts is not None:
            raise RequestError(
                "prompts to forget were given beside prompt pairs or keywords, which hold them "
                "already: give one of the two."
            )
        if self.replacement is not None and not self.replacement.strip():
            raise RequestError("the replacement phrase is empty: say what is drawn instead.")
        if self.replacement is None and self.also:
            raise RequestError(
                "other names of the concept were given without a replacement phrase: write them as "
                "prompt pairs or keywords too."
            )
        for name in self.names:
            if self.replacement is not None and _same(self.replacement, name):
                raise RequestError(
                    f"{name!r} was given as forgotten and as its own replacement: give another "
                    "phrase."
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that the concept is called."""
        return (self.concept, *self.also)

    def describe(self) -> str:
        others = ", ".join(repr(name) for name in self.also)
        return f"the concept {self.concept!r}" + (f", also called {others}" if others else "")


class ForgetMemorised(BaseModel):
    """Forget the picture that a text-to-image model has memorised for `prompt`.

    `picture` is the training picture, where it is at hand; else the one that samples of the prompt
    agree on is taken. `modified_prompt` draws it sometimes and other pictures at other times; None
    searches for one. `control_prompts` is a file or data set of prompts without memorised
    pictures, None fills templates. `digest`, of picture and control prompts, is filled in by the
    run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["memorised"] = "memorised"
    prompt: str
    picture: str | None = None
    modified_prompt: str | None = None
    control_prompts: str | None = None
    digest: str = ""

    def check(self, info: ModelInfo) -> None:
        """Raise RequestError unless the model takes prompts and these can be asked for."""
        _require_text(info)
        for name, text in (("prompt", self.prompt), ("modified prompt", self.modified_prompt)):
            if text is not None and not any(map(str.isalnum, text)):
                raise RequestError(f"the {name} {text!r} has no words: give the caption.")
        if self.modified_prompt is not None and _same(self.prompt, self.modified_prompt):
            raise RequestError(
                f"{self.prompt!r} was given as the prompt and as its own modification: change a "
                "word, or leave the modified prompt out and one is searched for."
            )

    def describe(self) -> str:
        return f"the picture memorised for {self.prompt!r}"


Request = ForgetClass | ForgetConcept | ForgetImages | ForgetMemorised | Distil | DistilText


def read_request(kind: type[R], content: dict[str, Any]) -> R:
    """A request as a record holds it; DataError where it is one of another version."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"the request in record.json is not what this version of efface writes "
            f"({'.'.join(map(str, first['loc']))[:40]}: {first['msg']}): use the version that made "
            "the run, or run again."
        ) from error


def _same(phrase: str, other: str) -> bool:
    return phrase.casefold().split() == other.casefold().split()


def _require_text(info: ModelInfo) -> None:
    if info.family is None:
        raise RequestError(
            f"{info.source} takes no prompts: give a text-to-image model, or forget a class or "
            "pictures."
        )


def _classes(info: ModelInfo) -> int:
    if info.num_classes is None:
        raise RequestError(
            f"{info.source} is not class-conditional, so it has no label to forget: give a model "
            "with class embeddings."
        )
    return info.num_classes
