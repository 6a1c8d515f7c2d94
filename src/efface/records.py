"""What a run leaves behind as JSON: the record and the evaluation (no torch)."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from efface.errors import DataError, RequestError
from efface.files import parse_json, whole_file

SCHEMA = 1  # of all records
MULTI_STEP = "_multi_step"  # ends the line of a one-step generator that is sampled in many steps
M = TypeVar("M", bound=BaseModel)
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Budget = Finite | None  # on the axis of an attack; None: not within the whole budget
Side = Literal["forget", "retain"]  # of which samples or images a figure is


class Content(BaseModel):
    """What a record holds: nothing that is not declared."""

    model_config = ConfigDict(extra="forbid")


class Value(Content):
    value: float
    low: float
    high: float


class Margin(BaseModel, extra="forbid", frozen=True):
    """How much a figure may differ before it counts."""

    value: float
    relative: bool = False  # a share of the original model's figure, rather than in its unit


class Spec(BaseModel):
    """What a figure is: everything that a table, a plot or a verdict needs to know of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    label: str  # the field's term
    meaning: str  # one plain phrase
    unit: str
    side: Side
    better: Literal["more", "less", "zero"] | None = None  # None: neither by itself
    role: Literal["primary", "secondary", "context"] = "context"  # all but context decide verdicts
    margin: Margin | None = None  # primary and secondary: what counts as gone, or as damage
    likeness: bool = False  # compared with the original model's samples: tells unlike, not worse
    event: str | None = None  # of a share, what it counts: "copies of {them} appeared in"
    caveat: str | None = None
    subject: str | None = None  # what it is about, where that is one of several forgotten things

    def about(self, key: object, what: str, subject: str, *, decides: bool) -> "Spec":
        """The same figure of one of several forgotten things; `what` names it in tables."""
        changed: dict[str, Any] = {"name": f"{self.name}/{key}", "label": f"{self.label}, {what}"}
        changed |= {"subject": subject} | ({} if decides else {"role": "context"})
        return self.model_copy(update=changed)


class Result(Value):
    """One figure of the result, with the original model measured by the same protocol."""

    spec: Spec
    samples: int
    seeds: list[int]  # first and last: sample i has seed first + i
    protocol: str
    baseline: Value  # the original model with its multi-step sampler
    difference: Value | None = None  # result less original model, paired by seed
    baseline_one_step: Value | None = None  # for context: the original model in one step
    retrained: Value | None = None  # a model that was trained without what is forgotten
    distilled: Value | None = None  # a one-step generator of the original model: forgot nothing
    unseen: Value | None = None  # the same figure of images that no model here has seen
    extractor: dict[str, str] | None = None  # name and sha256 of what it was measured with

    @property
    def metric(self) -> str:
        return self.spec.name

    @property
    def unit(self) -> str:
        return self.spec.unit

    @property
    def own(self) -> Value:
        return Value(value=self.value, low=self.low, high=self.high)


class ForgottenImage(Content):
    """One forgotten image, before and after, beside images that no model here has seen."""

    name: str  # as the requester named it: untrusted
    sha256: str  # of its pixels
    loss: float  # denoising loss, mean over pixels, noise levels and draws
    loss_baseline: float  # the original model's
    similarity: float  # to what the model makes of it when it is noised and denoised, -1 to 1
    similarity_baseline: float
    copies: int  # samples within the copy distance
    copies_baseline: int


class Point(Value):
    """A figure at one place of a curve."""

    x: float


class Curve(Content):
    """A figure against a threshold or a budget, one line per model."""

    name: str
    title: str  # what it shows, in a phrase
    x_label: str
    y_label: str
    log_x: bool = False
    lines: dict[str, list[Point]]  # by model: "result", "baseline", "retrained", ...
    protocol: str
    extractor: dict[str, str] | None = None  # name and sha256 of what the figure was seen with


class Matrix(Content):
    """Which labels were seen where others were asked for: shares, one row per asked label."""

    labels: list[int]  # of the rows: what was asked for
    seen: list[int]  # of the columns: what the judge saw
    shares: dict[str, list[list[float]]]  # by model, "baseline" and "result" among them
    samples: list[int]  # per row
    protocol: str

    @model_validator(mode="after")
    def _check_shape(self) -> "Matrix":
        rows, columns = len(self.labels), len(self.seen)
        whole = {"baseline", "result"} <= self.shares.keys() and rows == len(self.samples) > 0
        for grid in self.shares.values():
            whole = whole and [len(row) for row in grid] == [columns] * rows and columns > 0
        if not whole:
            raise ValueError("one share per model, row and column, and one count per row")
        return self


class Evaluation(Content):
    """`evaluation.json`."""

    schema_version: Literal[1] = 1
    results: list[Result]
    judge: dict[str, Any] | None = None
    images: list[ForgottenImage] = []  # of a request to forget images
    curves: list[Curve] = []
    labels_seen: Matrix | None = None
    change: dict[str, float] = {}  # weights, samples: relative to the original model
    guidance: float = 1.0  # of the original model, as set or chosen
    change_protocol: str = ""  # how that was measured, or that the model is broken
    broken: bool = False  # whether the model says what is no finite number: nothing was measured
    key: str | None = None  # digest of models, protocol and seeds that this was measured with
    retrained: str | None = None  # the model that never knew, as it was given
    terms: dict[str, str] = {}  # what two evaluations share if their figures may be compared

    def get(self, metric: str) -> Result | None:
        return next((r for r in self.results if r.metric == metric), None)


class Cost(Content):
    """What it took to bring a share of the forgotten thing back."""

    share: float  # of what the original model shows, above what a model that never knew it shows
    budget: Budget
    images: int | None = None  # images that were needed, where the attack takes any


class SelfTest(Content):
    """Whether an attack finds what is known to be there; if not, its result is inconclusive."""

    subject: str  # "the original model", "a knowingly weak erasure"
    passed: bool
    text: str


class Rate(Content):
    """What came of an attack at one learning rate."""

    rate: float
    half: Budget  # for half and nine tenths
    most: Budget
    highest: float  # on the curve's y axis


class Speed(Content):
    """Budgets for half of it, of this run's model and of a retrained one, paired by seed."""

    line: str  # the way in which this run's model was attacked
    seeds: list[int]
    budgets: list[Budget]
    retrained: list[Budget]
    ratio: Finite | None  # the median of budget / retrained; None where it is not known
    low: Finite  # its interval of 95 %
    high: Finite | None  # None: without end


class AttackResult(Content):
    """One attack on one run: how much comes back for which budget."""

    attack: str
    called: str = ""  # what was sought, where several things were forgotten
    title: str
    summary: str  # what was done, in a phrase
    curve: Curve  # recovery against budget; lines "result", "baseline", "weak", "retrained"
    level: float  # what counts as fully back, on the curve's y axis
    floor: float  # what a model that never knew it shows: the curve's zero
    costs: dict[str, list[Cost]]  # by line
    self_tests: list[SelfTest]
    settings: dict[str, Any]
    seeds: list[int]
    seconds: float
    notes: list[str] = []
    rates: dict[str, list[Rate]] = {}  # by line: all that were tried, of which the best counts
    speed: Speed | None = None  # beside a retrained model, where half of it came back
    examples: str | None = None  # "real images", or what else it was attacked with

    @property
    def void(self) -> bool:
        return not all(test.passed for test in self.self_tests)


class Attacks(Content):
    """`attacks.json`."""

    schema_version: Literal[1] = 1
    output: dict[str, str]  # weight hashes of the pipeline that was attacked
    results: list[AttackResult]
    judge: dict[str, Any] | None = None


class ModelEntry(BaseModel):
    """What is read of a record's `model`, where it is there."""

    source: str | None = None  # None: a model made from nothing
    classes: int | None = None
    null_label: int | None = None
    size: int | None = None
    weights: dict[str, str] = {}


class StartEntry(BaseModel):
    """What is read of a record's `start`, where it is there."""

    request: dict[str, Any] = {}
    output: dict[str, str] = {}
    source: str = ""


class HardwareEntry(BaseModel):
    """What is read of a record's `hardware`, where it is there."""

    gpus: list[str] = []
    cores: int | None = None


class RunRecord(Content):
    """`record.json`: what was asked, with what it was done, what came out."""

    schema_version: Literal[1] = 1
    status: Literal["running", "finished", "collapsed"]
    request: dict[str, Any]
    material: dict[str, Any] = {}  # digests of what the request names on disk
    model: dict[str, Any]  # source, network class, classes, weight hashes
    method: str  # as papers call it
    settings: dict[str, dict[str, Any]]
    start: dict[str, Any] | None = None  # an earlier run whose networks this one began from
    sampler: dict[str, Any] = {}
    versions: dict[str, str]  # of what a run rests on
    environment: dict[str, str] = {}  # the system, and versions of all that was installed
    hardware: dict[str, Any]
    started: str
    finished: str | None = None
    seconds: float | None = None
    steps: int | None = None
    images_per_second: float | None = None
    forwards: int | None = None  # images through networks in training; backward passes count too
    output: dict[str, str] = {}  # weight hashes
    guard: list[dict[str, float]] = []
    note: str | None = None  # the guard's sentence
    stopped: str | None = None  # why the run ended before its last step though all was well
    notes: dict[str, Any] = {}  # what was found in the data: duplicates, generated images, prior

    @model_validator(mode="after")
    def _check_entries(self) -> "RunRecord":
        ModelEntry.model_validate(self.model, strict=True)
        StartEntry.model_validate(self.start or {}, strict=True)
        HardwareEntry.model_validate(self.hardware, strict=True)
        return self

    def require_finished(self, run: Path) -> None:
        """Raise RequestError for a run that has made no model yet."""
        if self.status == "running":
            raise RequestError(f"{run} is not finished: complete it with --resume first.")


def write_json(path: Path, model: BaseModel) -> None:
    """Write atomically; the field `schema_version` is called `schema` in the file."""
    content = model.model_dump(mode="json")
    content = {"schema": content.pop("schema_version")} | content
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> RunRecord:
    """The record of a run folder; DataError if there is none."""
    return _read(RunRecord, folder / "record.json", "give the folder of a run")


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation of a run folder; DataError if there is none."""
    return _read(Evaluation, folder / "evaluation.json", "measure it with `efface evaluate`")


def read_attacks(folder: Path) -> Attacks | None:
    """The attacks on a run, if there were any."""
    if not (folder / "attacks.json").exists():
        return None
    return _read(Attacks, folder / "attacks.json", "move it away, and make it with `efface attack`")


def _read(kind: type[M], path: Path, remedy: str) -> M:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing: {remedy}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): {remedy}.") from error
    return parse_record(kind, content, str(path), remedy)


def parse_record(kind: type[M], content: bytes, name: str, remedy: str) -> M:
    """A record out of bytes that anybody may have written; DataError with the reason."""
    values = parse_json(content, name, remedy)
    if "schema" not in values:
        raise DataError(f"{name} is not what efface writes: {remedy}.")
    schema = values.pop("schema")
    if schema != SCHEMA:
        raise DataError(
            f"{name} was written by another version of efface (its schema is {str(schema)[:20]!r} "
            f"and this one reads {SCHEMA}): use that version, or {remedy}."
        )
    try:
        return kind.model_validate(values | {"schema_version": schema})
    except (ValueError, TypeError) as error:
        raise DataError(f"{name} is not what efface writes: {remedy}.") from error
