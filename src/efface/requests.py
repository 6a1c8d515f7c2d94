"""What must go: frozen, JSON, no tensors, checked before anything heavy is loaded."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError


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
                "models: give one of those, or forget a class."
            )
        if self.prior is not None and not 0 < self.prior < 1:
            raise RequestError(
                f"prior {self.prior} is no share of a training set: give one between 0 and 1."
            )

    def describe(self) -> str:
        return f"{len(self.names)} picture{'' if len(self.names) == 1 else 's'}"


Request = ForgetClass | ForgetImages | Distil


def _classes(info: ModelInfo) -> int:
    if info.num_classes is None:
        raise RequestError(
            f"{info.source} is not class-conditional, so it has no label to forget: give a model "
            "with class embeddings."
        )
    return info.num_classes
