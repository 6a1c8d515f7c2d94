"""What can be refused without torch: the command line asks here before it imports more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from efface.diffusion.places import find_folder
from efface.records import read_record
from efface.requests import kinds, sections
from efface.requests.base import Request
from efface.runs.place import check_same, entries, holds_run
from efface.settings.evaluate import EvaluateSettings
from efface.settings.reading import Values, check_each, read_changes, read_recipe
from efface.training.settings import TrainSettings

METHOD = "method"  # whose class needs torch
SECTIONS = {"train": TrainSettings, "evaluate": EvaluateSettings}


def check_request(
    request: Request,
    model: str,
    out: Path,
    *,
    recipe: str | Path | None,
    changes: Iterable[str],
    resume: bool,
    overwrite: bool,
) -> None:
    """Raise an EffaceError for settings, a model or a folder that `forget` would refuse."""
    given = check_settings(type(request), recipe, changes)
    find_folder(model)
    # One that was put aside is brought back later.
    if holds_run(out, resume, overwrite) and (out / "record.json").exists():
        _check_resumed(out, request, given)


def check_settings(
    kind: type[Request], recipe: str | Path | None, changes: Iterable[str]
) -> Values:
    """What recipe and changes set, but for the method's own; ConfigError for what is wrong."""
    known: dict[str, Any] = sections() | {METHOD: None} | SECTIONS
    own = {} if kind.own is None else {kind.section: kind.own}
    given = {} if recipe is None else read_recipe(Path(recipe), known)
    for name, values in read_changes(changes, {METHOD: None} | SECTIONS | own).items():
        given[name] = given.get(name, {}) | values
    given.pop(METHOD, None)
    for name, values in given.items():
        check_each(known[name], values, name)
    return given


def check_run(run: Path, changes: Iterable[str] = ()) -> None:
    """Raise DataError for a folder without a run, ConfigError for settings that are wrong."""
    record = read_record(run)
    kind = kinds().get(str(record.request.get("kind")))
    if kind is not None:
        check_settings(kind, None, changes)


def _check_resumed(out: Path, request: Request, given: Mapping[str, Any]) -> None:
    """Raise RequestError where the run in `out` was recorded with other words or settings.

    Words that a model may write in another way, as a label by its name, are left to later.
    """
    earlier = read_record(out)
    words = request.model_dump(mode="json", exclude={"earlier"})
    names = earlier.model.get("id2label", {}).items()
    numbered = not any(name.isdigit() and name != label for label, name in names)
    before = dict(entries(earlier.settings | {"request": earlier.request}))
    now = {
        name: _as_number(value) if numbered else value
        for name, value in entries(dict(given) | {"request": words})
        if name in before
    }
    alike = {name: value for name, value in now.items() if _kind(value) is _kind(before[name])}
    check_same(out, earlier, before, before | alike)


def _as_number(value: Any) -> Any:
    """Labels that were given as text, as numbers."""
    if isinstance(value, list) and all(isinstance(v, str) and v.isdigit() for v in value):
        return [int(v) for v in value]
    return value


def _kind(value: Any) -> type:
    """The type of a value, or of what a list begins with; all numbers are of one."""
    first = value[0] if isinstance(value, list) and value else value
    return float if type(first) is int else type(first)
