"""The file of a benchmark: what is compared on what, read and checked (no torch)."""

from __future__ import annotations

import contextlib
import itertools
import json
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from efface.errors import ConfigError, EffaceError, RequestError
from efface.requests import kinds
from efface.requests.base import Request
from efface.runs.early import check_settings
from efface.settings.reading import Section, build

Scalar = bool | int | float | str
Seed = Annotated[int, Field(ge=0, le=1_000_000)]
Tables = Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=60)]
UNTOUCHED, RETRAINED = "untouched", "retrained"  # rows that no method makes
SEEDED = ("train.seed", "evaluate.seed")
STEPS = "train.steps"
FIRST, APART = 1000, 10_000  # the first seed of evaluation, and how far those of two seeds lie


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request, and a model that was trained without what it forgets, where there is one."""

    request: Request
    retrained: str | None = None


class Strength(Section):
    """Values of one setting, one of which is chosen on the requests and seeds of the selection."""

    setting: str
    """SECTION.NAME, as train.steps."""
    values: Annotated[tuple[Scalar, ...], Field(min_length=2)]
    """Values to try."""


class MethodRow(Section):
    """A method as it is compared."""

    name: Name
    """The method, by its name or dotted name; where `method` is given, what the row is called."""
    method: str | None = None
    """The method, where the row is called otherwise."""
    recipe: str | None = None
    """A TOML file of settings, or the name of one that ships."""
    as_published: bool = False
    """With the settings of the published script, in place of the method's own defaults."""
    set: tuple[str, ...] = ()
    """Settings, as "train.batch_size=32"."""
    strength: Strength | None = None
    """A setting to choose."""

    @property
    def method_name(self) -> str:
        return self.name if self.method is None else self.method

    @property
    def values(self) -> tuple[Scalar | None, ...]:
        """Of its strength; None alone where there is none to choose."""
        return (None,) if self.strength is None else self.strength.values

    def published(self) -> list[str]:
        """Settings of the published script in the form of `--set`.

        ConfigError where none are known.
        """
        if not self.as_published:
            return []
        from efface.methods import resolve

        known = resolve(self.method_name).as_published
        if not known:
            raise ConfigError(
                f"no published settings of {self.method_name!r} are known: give `set`."
            )
        return [f"{name}={json.dumps(value)}" for name, value in known.items()]

    def chosen(self, value: Scalar | None) -> list[str]:
        """A value of its strength in the form of `--set`."""
        if self.strength is None or value is None:
            return []
        return [f"{self.strength.setting}={json.dumps(value)}"]


class ReferenceRow(Section):
    """A model that is measured as it is, as a generator that was distilled and forgot nothing."""

    name: Name
    """What the row is called."""
    path: str
    """Its folder."""


class Selection(Section):
    """What strengths are chosen on: none of it is reported."""

    seeds: Seeds
    """Seeds."""
    request: Tables
    """Requests."""


class BenchFile(Section):
    """Everything that a benchmark compares."""

    model: str
    """The original model."""
    seeds: Seeds
    """Seeds of training and of evaluation."""
    request: Tables
    """Requests: the fields of their kind, and `retrained`, the model to compare with."""
    method: Annotated[tuple[MethodRow, ...], Field(min_length=1)]
    """Rows that methods make."""
    reference: tuple[ReferenceRow, ...] = ()
    """Rows that are measured as they are."""
    selection: Selection | None = None
    """What strengths are chosen on."""
    forwards: int | None = Field(default=None, ge=1, le=10**15)
    """Network forwards of training of every run; none takes the steps of each recipe."""
    judge: str | None = None
    """A classifier, by folder or ONNX file; none takes that of the original model."""
    evaluate: dict[str, Any] = {}
    """Settings of the evaluation, of all rows."""
    set: tuple[str, ...] = ()
    """Settings of all rows, as "images.samples=100"."""
    attacks: bool = False
    """Attack every run by relearning."""
    relearning: dict[str, Any] = {}
    """Settings of that attack."""
    threads: int = Field(default=1, ge=1, le=1024)
    """Threads of every run: figures are the same however many runs go on at once."""

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        names = [UNTOUCHED, RETRAINED, *(row.name for row in (*self.method, *self.reference))]
        _check_once(names, "rows are called")
        _check_once(self.seeds, "seeds are")
        _check_once([asked.request.model_dump_json() for asked in self.asked], "requests are")
        searched = [row.name for row in self.method if row.strength is not None]
        if searched and self.selection is None:
            raise ConfigError(
                f"row {searched[0]!r} has a strength to choose: add [selection] with seeds and "
                "requests that are not reported."
            )
        if self.relearning and not self.attacks:
            raise ConfigError("[relearning] has no effect without attacks = true: add that.")
        return self

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        fixed = {name: "seeds are those of `seeds`" for name in SEEDED}
        if self.forwards is not None:
            fixed[STEPS] = "steps are made of the budget in forwards"
        strengths = [row.strength.setting for row in self.method if row.strength is not None]
        changes = [*self.set, *(change for row in self.method for change in row.set)]
        given = [*strengths, *(change.partition("=")[0].strip() for change in changes)]
        for name in (*given, *(f"evaluate.{name}" for name in self.evaluate)):
            if name in fixed:
                raise ConfigError(f"{name} cannot be set here: {fixed[name]}.")
        return self

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        """What is reported must not be what was chosen on."""
        if self.selection is None:
            return self
        both = sorted({*self.seeds} & {*self.selection.seeds})
        if both:
            raise ConfigError(
                f"seed {both[0]} is both reported and selected on: give the selection other seeds."
            )
        for asked in self.selected:
            for reported in self.asked:
                check_apart(asked.request, reported.request)
        return self

    @property
    def asked(self) -> list[Asked]:
        """The requests that are reported."""
        return [read_asked(table) for table in self.request]

    @property
    def selected(self) -> list[Asked]:
        """The requests that strengths are chosen on."""
        return [] if self.selection is None else [read_asked(t) for t in self.selection.request]

    def changes(self, row: MethodRow) -> list[str]:
        """The settings of a row, in the form of `--set`; later ones go before."""
        shared = [f"evaluate.{name}={json.dumps(value)}" for name, value in self.evaluate.items()]
        return [*shared, *self.set, *row.published(), *row.set]

    @property
    def attack_changes(self) -> tuple[str, ...] | None:
        """Settings of the attack in the form of `--set`; None without one."""
        if not self.attacks:
            return None
        given = self.relearning.items()
        return tuple(f"relearning.{name}={json.dumps(value)}" for name, value in given)


def seed_changes(seed: int) -> list[str]:
    """A seed of training, evaluated on samples of its own."""
    return [f"train.seed={seed}", f"evaluate.seed={FIRST + APART * seed}"]


def check_apart(selected: Request, reported: Request) -> None:
    """Raise ConfigError where two requests are to forget something in common.

    Compared are the fields that such requests cannot do without: what is forgotten.
    """
    if type(selected) is not type(reported):
        return
    needed = [name for name, f in type(selected).model_fields.items() if f.is_required()]
    shared = [set(_values(selected, name)) & set(_values(reported, name)) for name in needed]
    if all(shared):
        raise ConfigError(
            f"{selected.describe()} of the selection and {reported.describe()} of what is reported "
            "have something in common: choose strengths on something else."
        )


def _values(request: Request, name: str) -> Iterator[str]:
    value = getattr(request, name)
    yield from map(str, value if isinstance(value, tuple) else [value])


def _check_once(values: Iterable[object], what: str) -> None:
    seen = list(values)
    twice = [value for value in seen if seen.count(value) > 1]
    if twice:
        raise ConfigError(f"two {what} {twice[0]!r}: give each once.")


def read_asked(table: dict[str, Any]) -> Asked:
    """A request from its table; ConfigError or RequestError for what it does not take."""
    fields = dict(table)
    retrained, kind = fields.pop("retrained", None), fields.get("kind")
    if not isinstance(kind, str) or kind not in kinds() or not kinds()[kind].forgets:
        known = ", ".join(sorted(name for name, own in kinds().items() if own.forgets))
        raise ConfigError(f"the kind of a request is {kind!r}: give one of {known}.")
    if retrained is not None and not isinstance(retrained, str):
        raise RequestError(f"retrained is {retrained!r}: give the folder of a model.")
    return Asked(request=kinds()[kind].model_validate(fields), retrained=retrained)


def read_file(path: str | Path) -> BenchFile:
    """A benchmark's file, checked as far as can be without a model; ConfigError in one sentence."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise ConfigError(f"{path} is not readable TOML: {error}.") from error
    found = build(BenchFile, content, "bench")
    for row, asked in itertools.product(found.method, (*found.asked, *found.selected)):
        for value in row.values:
            with named(row.name):
                changes = [*found.changes(row), *row.chosen(value)]
                check_settings(type(asked.request), row.recipe, changes)
    return found


@contextlib.contextmanager
def named(row: str) -> Iterator[None]:
    """Say which row an error is about."""
    try:
        yield
    except EffaceError as error:
        raise type(error)(f"row {row!r}: {error}") from error
