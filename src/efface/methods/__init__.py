"""One file is one method; the file name is its name on the command line."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from efface.errors import ConfigError
from efface.methods.base import Method

_NOT_METHODS = ("base", "gradient_rules", "image_method", "mixture")


def names() -> list[str]:
    """Names of the methods in this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _NOT_METHODS)


def resolve(name: str) -> type[Method]:
    """The single Method of `efface.methods.NAME`, or of any module given by its dotted name."""
    if "." not in name and name not in names():
        raise ConfigError(f"method {name!r} is unknown: there is {', '.join(names())}.")
    path = name if "." in name else f"{__name__}.{name}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise ConfigError(f"method {name!r} cannot be imported: {error}.") from error
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Method) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ConfigError(f"{path} holds {len(found)} methods: a method's file has exactly one.")
    return found[0]
