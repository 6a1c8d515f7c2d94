"""Everything that a run is set to."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from efface.errors import ConfigError, RequestError
from efface.methods import resolve
from efface.methods.base import Method
from efface.settings.evaluate import EvaluateSettings
from efface.settings.reading import Values, build, read_changes, read_recipe
from efface.training.settings import TrainSettings

S = TypeVar("S", bound=BaseModel)
METHOD, TRAIN, EVALUATE = "method", "train", "evaluate"
UNTRAINED = ("seed", "ignore_memory")  # settings of the loop that matter to a method without loss


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A method with its hyperparameters, the loop, the evaluation and the request's own section.

    `own` is None for a kind of request without settings; `section` is its name in recipes.
    """

    method_name: str
    method: Method
    train: TrainSettings
    evaluate: EvaluateSettings
    section: str
    own: BaseModel | None

    def of(self, kind: type[S]) -> S:
        """The request's own section, by its class."""
        assert isinstance(self.own, kind), f"{self.section} is not {kind.__name__}"
        return self.own

    def to_json(self) -> dict[str, Any]:
        """Sections by name, as `record.json` holds them."""
        sections: dict[str, Any] = {
            METHOD: {"name": self.method_name} | asdict(cast(Any, self.method)),
            TRAIN: self.train.model_dump(),
            EVALUATE: self.evaluate.model_dump(),
        }
        if self.own is not None:
            sections[self.section] = self.own.model_dump()
        return json.loads(json.dumps(sections))

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """With other values by SECTION.NAME; ConfigError for what a section does not take."""
        content = self.to_json()
        for key, value in changes.items():
            section, _, name = key.partition(".")
            content[section][name] = value
        return from_values(content, self.section, None if self.own is None else type(self.own))


def sections_of(section: str, own: type[BaseModel] | None, method: str | None) -> dict[str, Any]:
    """Sections that a run has, with their classes; the method's class where it is known."""
    known: dict[str, Any] = {METHOD: None if method is None else resolve(method)}
    known |= {TRAIN: TrainSettings, EVALUATE: EvaluateSettings}
    return known if own is None else known | {section: own}


def from_values(values: Values, section: str, own: type[BaseModel] | None) -> Settings:
    """Settings from sections in which the method is named; the rest is filled with defaults."""
    method = dict(values[METHOD])
    name = method.pop("name")
    kind = resolve(name)
    train = build(TrainSettings, dict(kind.train_defaults) | values.get(TRAIN, {}), TRAIN)
    if not kind.phases:
        _check_untrained(name, train, TrainSettings(**kind.train_defaults))
    return Settings(
        method_name=name,
        method=build(kind, method, METHOD),
        train=train,
        evaluate=build(EvaluateSettings, values.get(EVALUATE, {}), EVALUATE),
        section=section,
        own=None if own is None else build(own, values.get(section, {}), section),
    )


def _check_untrained(method: str, train: TrainSettings, own: TrainSettings) -> None:
    """Raise ConfigError for settings of the loop where nothing is trained."""
    for name, value in train:
        if name not in UNTRAINED and value != getattr(own, name):
            raise ConfigError(
                f"train.{name} is {value!r}, and method {method!r} trains nothing: it edits the "
                "weights in closed form. Leave it out."
            )


def from_json(content: Mapping[str, Any], section: str, own: type[BaseModel] | None) -> Settings:
    """The settings of `record.json`; RequestError for those of another version."""
    try:
        for name in content:
            if name not in sections_of(section, own, None):
                raise ConfigError(f"section {name!r} is unknown.")
        return from_values({name: dict(values) for name, values in content.items()}, section, own)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f"the settings in record.json are not what this version of efface reads ({error}): "
            "use the version that made the run, or run again."
        ) from error


def read_settings(
    section: str,
    own: type[BaseModel] | None,
    *,
    method: str | None = None,
    recipe: str | Path | None = None,
    changes: Iterable[str] = (),
    default_method: str = "sfd",
    default_recipe: str | None = None,
    others: Mapping[str, type[BaseModel]] | None = None,
) -> Settings:
    """Defaults, then the method's own, then the recipe, then `changes` ("train.steps=500").

    Where no recipe is given, `default_recipe` is taken if it is for the method. A recipe may have
    sections for `others`, which are checked and left out: one recipe can serve several kinds of
    request. ConfigError for unknown names, wrong types and numbers out of range.
    """
    changed = read_changes(changes, sections_of(section, own, method))
    named = changed.get(METHOD, {}).pop("name", None)
    given = _read(recipe, section, own, others or {})
    if recipe is None and default_recipe is not None:
        usual = _read(default_recipe, section, own, others or {})
        if (method or named) in (None, usual[METHOD]["name"]):
            given = usual
    for name, content in changed.items():
        given.setdefault(name, {}).update(content)
    named = named or given.get(METHOD, {}).pop("name", None)
    if named is not None and not isinstance(named, str):
        raise ConfigError(f"method.name is {named!r}: give the name of a method, as 'sfd'.")
    if method is not None and named is not None and method != named:
        raise ConfigError(
            f"the recipe is for method {named!r}, but {method!r} was requested: leave one out."
        )
    name = method or named or default_method
    return from_values(given | {METHOD: {"name": name} | given.get(METHOD, {})}, section, own)


def _read(
    recipe: str | Path | None,
    section: str,
    own: type[BaseModel] | None,
    others: Mapping[str, type[BaseModel]],
) -> Values:
    """A recipe's sections for one kind of request; those of other kinds are checked alone."""
    if recipe is None:
        return {}
    known = {**others, **sections_of(section, own, None)}
    found = read_recipe(Path(recipe), known)
    foreign = [name for name in found if name in others and name != section]
    for name in foreign:
        build(others[name], found.pop(name), name)
    return found
