"""What every kind of request is: words, then what they name on disk, then what a run is fed with.

A request is frozen, JSON and free of torch. It is read once for a model, which gives its material;
everything that differs between kinds of request is asked of these two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError
from efface.requests.words import Words
from efface.settings.reading import explain

if TYPE_CHECKING:
    from accelerate import Accelerator

    from efface.attacks.goals import Goal
    from efface.data.source import BatchSource
    from efface.diffusion.denoiser import Condition, Denoiser
    from efface.evaluation.protocol import Protocol
    from efface.evaluation.references import Retained
    from efface.evaluation.subjects import Compared, Job, Subjects
    from efface.evaluation.views import View
    from efface.memory.estimate import Amounts
    from efface.methods.base import Method
    from efface.metrics.judge import Judge
    from efface.settings.base import Settings
    from efface.training.guard import Stopper

SHARED = frozenset({"baseline_steps", "batch_size", "dtype", "seed"})
EXTRACTOR = frozenset({"extractor", "reference"})
DETECTOR = frozenset({"detector", "detector_labels", "detector_threshold"})


def evaluate_names(*names: str) -> frozenset[str]:
    """Settings of the section `evaluate` by SECTION.NAME."""
    return frozenset(f"evaluate.{name}" for name in names)


# A generator of one step, or a model that is sampled as the original one is.
RESULTS = {"one-step": "sfd", "same-sampler": "redirection"}
CONDITIONED = evaluate_names(  # for samples that are conditioned on labels or prompts
    *SHARED, *EXTRACTOR, *DETECTOR, "clip", "guidance", "forget_samples", "retain_samples"
)


class Request(BaseModel, ABC):
    """What is to be forgotten. Subclasses are the words of the user, checked as they are made.

    The docstring of a field is the help of its command-line option, which has the field's name
    unless `json_schema_extra={"option": ...}` gives another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    earlier: tuple[SerializeAsAny[Request], ...] = ()  # forgotten before, and forgotten still

    section: ClassVar[str]  # of its own settings in recipes
    own: ClassVar[type[BaseModel] | None] = None  # their class; None for a kind without any
    words_class: ClassVar[type[Words]]
    need: ClassVar[str]  # what a method must be able to forget
    supplies: ClassVar[frozenset[str]] = frozenset()  # what it can be fed with, beside conditions
    default_method: ClassVar[str] = "sfd"
    text_recipe: ClassVar[str | None] = None  # that ships, for text-to-image models
    results: ClassVar[Mapping[str, str]] = {}  # what can be delivered, and the method for it
    options: ClassVar[frozenset[str]] = frozenset()  # of `efface forget`, beside what all take
    forgets: ClassVar[bool] = True
    keeps: ClassVar[frozenset[str]] = frozenset()  # kinds of earlier requests that `read` takes up
    instead: ClassVar[Mapping[str, str]] = {}  # what to do, by kinds that it cannot keep
    guided: ClassVar[bool] = True  # whether models are sampled with evaluate.guidance
    same_sampler: ClassVar[bool] = False  # whether the result is sampled as the original model is
    subject: ClassVar[str]  # what a run is about, in a phrase
    measured: ClassVar[frozenset[str]]  # settings by SECTION.NAME that an evaluation reads
    attacked: ClassVar[frozenset[str]] = evaluate_names("baseline_steps", "guidance")

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, data: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """Raise RequestError with one sentence for words of the wrong type or range."""
        try:
            return handler(data)
        except ValidationError as error:
            raise RequestError(explain(error, "request")) from None

    @field_validator("earlier", mode="before")
    @classmethod
    def _read_earlier(cls, given: Any) -> Any:
        from efface.requests import read_request

        found: list[Request] = []
        for one in given if isinstance(given, (list, tuple)) else [None]:
            request = one
            if isinstance(one, dict) and "earlier" not in one:
                request = read_request(one)
            if not isinstance(request, Request):
                raise ValueError("an earlier request is none, or has earlier ones of its own")
            found += [*request.earlier, request.model_copy(update={"earlier": ()})]
        return found

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content = handler(self)
        return content if self.earlier else {k: v for k, v in content.items() if k != "earlier"}

    @model_validator(mode="after")
    def _check_earlier(self) -> Self:
        for one in self.earlier:
            if one.kind not in self.keeps:
                remedy = self.instead.get(one.kind, "start from the original model")
                raise RequestError(
                    f"an earlier request forgot {one.describe()}, and one of the kind "
                    f"{self.kind!r} cannot keep that forgotten: {remedy}."
                )
        return self

    @property
    def together(self) -> tuple[Self, ...]:
        """The requests of this kind that are carried out, the earliest first."""
        return (*(one for one in self.earlier if isinstance(one, type(self))), self)

    def after(self, before: Request) -> Self:
        """The same request, with all that an earlier one forgot; RequestError where none can."""
        own = self.model_dump(exclude={"earlier"})
        known = (*before.earlier, before.model_copy(update={"earlier": ()}), *self.earlier)
        found = [one for one in known if one.forgets and one.model_dump() != own]
        return type(self).model_validate(own | {"earlier": found})

    @classmethod
    def fits(cls, method: Method) -> bool:
        """Whether a method can carry out such requests."""
        return cls.need in method.forgets and method.needs <= cls.supplies

    @classmethod
    @abstractmethod
    def suits(cls, model: ModelInfo) -> bool:
        """Whether such requests can be made of a model."""

    @classmethod
    def default_recipe(cls, model: ModelInfo) -> str | None:
        """A recipe that ships, for a run that is given none."""
        return None if model.family is None else cls.text_recipe

    @classmethod
    def expected_amounts(cls, model: ModelInfo, settings: Settings) -> Amounts:
        """What a run has much of, as far as that is known without the words of the request."""
        from efface.memory.estimate import Amounts, forget_rows

        return Amounts(forget_rows=forget_rows(settings))

    @property
    def words(self) -> Words:
        """What a report says of such a run."""
        return self.words_class(self)

    @abstractmethod
    def describe(self) -> str:
        """What is to be forgotten, in a phrase."""

    def of(self, model: ModelInfo) -> Self:
        """The same request in the model's own words; RequestError for what it does not know."""
        return self

    def compared(
        self, guidance: float, retrained: str | Path | None = None, distilled: Path | None = None
    ) -> Compared:
        """What stands beside a result, and how all are sampled."""
        from efface.evaluation.subjects import Compared

        return Compared(
            guidance=guidance if self.guided else 1.0,
            same_sampler=self.same_sampler,
            retrained=retrained,
            distilled=distilled,
        )

    def packed(self, run: Path) -> dict[str, bytes]:
        """Files of a run, beside those of every run, that an evaluation of it reads."""
        return {}

    def check_files(self) -> None:
        """Raise DataError where nothing is found under a name, without reading it."""

    @abstractmethod
    def check(self, model: ModelInfo, settings: Settings) -> None:
        """Raise RequestError or ConfigError for all that needs no file and no weights."""

    @abstractmethod
    def read(self, model: ModelInfo, settings: Settings) -> Material:
        """Read what the request names on disk; DataError or RequestError for what cannot be used.

        Also how the request of a recorded run is read again.
        """


@dataclass(frozen=True, eq=False, kw_only=True)
class Feed:
    """What a training loop is fed with."""

    denoiser: Denoiser  # the pretrained model, on its device, with all conditions encoded
    source: BatchSource
    retained: Condition | None = None  # whose samples the guard looks at; None: unconditional
    stopper: Stopper | None = None
    notes: dict[str, Any] = field(default_factory=dict)  # for the record


class Material(ABC):
    """What a request names on disk, read and checked, for one model."""

    goal_class: ClassVar[type[Goal]]  # of what an attack tries to bring back

    @property
    def digest(self) -> str:
        """SHA-256 of what is forgotten, by content; "" where the words say everything."""
        return ""

    def recorded(self) -> dict[str, Any]:
        """What a record says of it: its digest, and nothing that the request names."""
        return {"digest": self.digest} if self.digest else {}

    def compared_digest(self) -> str:
        """SHA-256 of what else an evaluation depends on: files may have come to hold others."""
        return ""

    def amounts(self, settings: Settings) -> Amounts:
        """What a run has much of, for the estimate of memory."""
        from efface.memory.estimate import Amounts, forget_rows

        return Amounts(forget_rows=forget_rows(settings))

    @abstractmethod
    def feed(
        self, denoiser: Denoiser, settings: Settings, run: Path, accelerator: Accelerator
    ) -> Feed:
        """What a run trains on; what is prepared is kept in the folder `run`."""

    @abstractmethod
    def protocol(self, job: Job) -> Protocol:
        """How all models of a run are measured."""

    def retained(self, settings: Settings) -> Retained:
        """Samples of what is retained, to see whether a model changed, or to compare with."""
        from efface.evaluation.references import Retained

        return Retained(asked=None, count=settings.evaluate.retain_samples)

    def finder(
        self, model: ModelInfo, settings: Settings, judge: str | Path | None
    ) -> Judge | View | None:
        """What tells whether the forgotten thing is back; RequestError where nothing can.

        `judge` is the folder of a classifier, where one was given.
        """
        if judge is not None:
            raise RequestError(
                f"a classifier tells labels apart, and this run on {model.source} did not forget "
                "labels: leave the classifier out."
            )
        return None

    @abstractmethod
    def goal(
        self, run: Path, models: Subjects, settings: Settings, finder: Judge | View | None
    ) -> Goal:
        """What an attack tries to bring back."""

    def goals(
        self, run: Path, models: Subjects, settings: Settings, finder: Judge | View | None
    ) -> Mapping[str, Goal]:
        """One for each of several requests, by what it is called, where one cannot seek all."""
        return {"": self.goal(run, models, settings, finder)}


def require_text(model: ModelInfo) -> None:
    """Raise RequestError for a model without prompts."""
    if model.family is None:
        raise RequestError(
            f"{model.source} takes no prompts: give a text-to-image model, or forget a class or "
            "images."
        )


def require_classes(model: ModelInfo) -> int:
    """The number of classes; RequestError for a model without labels."""
    if model.num_classes is None:
        raise RequestError(
            f"{model.source} is not class-conditional, so it has no label to forget: give a model "
            "with class embeddings."
        )
    return model.num_classes


def check_column(column: str | None, *sources: str | None) -> None:
    """Raise RequestError for a column of prompts where no table is named to read any from."""
    from efface.data.prompts import has_columns

    if column is not None and not any(source and has_columns(source) for source in sources):
        raise RequestError(
            f"the column {column!r} of prompts was given, and no table of prompts: give a table, "
            "or leave the column out."
        )


def has_words(text: str) -> bool:
    return any(map(str.isalnum, text))
