"""What people ask for: one folder per kind of request, found by itself (no torch)."""

import functools
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efface.errors import DataError, RequestError
from efface.requests.base import Request
from efface.requests.words import PlainWords, Words

ENTRY_POINTS = "efface.requests"  # where other packages register a class of their own


@functools.cache
def kinds() -> Mapping[str, type[Request]]:
    """Every kind of request by name: a folder here with a module `request`, or an entry point."""
    found = [_in_folder(entry.name) for entry in pkgutil.iter_modules(__path__) if entry.ispkg]
    found += [entry.load() for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)]
    return {kind.model_fields["kind"].default: kind for kind in found}


def _in_folder(name: str) -> type[Request]:
    module = importlib.import_module(f"{__name__}.{name}.request")
    (found,) = (
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, Request)
        and member.__module__ == module.__name__
    )
    return found


def sections() -> dict[str, Any]:
    """The sections of all kinds of request, by name."""
    return {kind.section: kind.own for kind in kinds().values() if kind.own is not None}


def is_request(content: Mapping[str, Any]) -> bool:
    """Whether the request of a record is of a kind that is known here."""
    kind = content.get("kind")
    return isinstance(kind, str) and kind in kinds()


def read_request(content: Mapping[str, Any]) -> Request:
    """A request as a record holds it; DataError for one of another version or package."""
    if not is_request(content):
        raise DataError(
            f"the request in record.json is of the kind {str(content.get('kind'))[:40]!r}, and "
            f"there is {', '.join(sorted(kinds()))}: use the version or package that made the run."
        )
    try:
        return kinds()[content["kind"]].model_validate(dict(content))
    except RequestError as error:
        raise DataError(
            f"the request in record.json is not what this version of efface writes ({error}): use "
            "the version that made the run, or run again."
        ) from error


def distilled_pipeline(start: Mapping[str, Any] | None) -> Path | None:
    """Where the pipeline of the run that another began from lies, if that one forgot nothing.

    It is measured beside the result: what forgetting cost, apart from what distilling did.
    """
    if start is None or "source" not in start or not is_request(start.get("request", {})):
        return None
    forgets = read_request(start["request"]).forgets
    return None if forgets else Path(start["source"]) / "pipeline"


def words_of(content: Mapping[str, Any]) -> Words:
    """What a report says of a run by the request in its record; of a training run, plain words."""
    return read_request(content).words if is_request(content) else PlainWords(content)
