"""Labels by the numbers or names that people call them."""

import difflib
import re

from efface.diffusion.class_networks import describe_labels
from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError

SHOWN = 20  # names in a sentence


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
        raise RequestError(
            f"{given!r} is more than one label of {model.source}, {_listed(found)}: give the "
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


def _listed(labels: set[int]) -> str:
    return " and ".join(map(str, sorted(labels)))


def _called(name: str) -> set[str]:
    return {_plain(part) for part in (name, *name.split(","))}


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
