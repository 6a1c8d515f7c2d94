"""Does it come back: one file is one attack; the file name is its name on the command line."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from efface.attacks.base import Attack
from efface.errors import ConfigError

_NOT_ATTACKS = (
    "base",
    "class_goal",
    "concept_goal",
    "fine_tuning",
    "goals",
    "labels",
    "memorised_goal",
    "picture_goal",
    "prompts",
    "questions",
    "weak",
)


def names() -> list[str]:
    """Names of the attacks in this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _NOT_ATTACKS)


def resolve(name: str) -> type[Attack]:
    """The single Attack of `efface.attacks.NAME`."""
    if name not in names():
        raise ConfigError(f"attack {name!r} is unknown: there is {', '.join(names())}.")
    module = importlib.import_module(f"{__name__}.{name}")
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Attack) and member.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{module.__name__} holds {len(found)} attacks"
    return found[0]
