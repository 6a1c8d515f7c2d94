"""One file is one method; the file name is its name on the command line."""

import functools
import importlib
import inspect
import pkgutil

from efface.errors import ConfigError
from efface.methods.base import Method


def __getattr__(name: str) -> type[Method]:
    """A method by the name of its class: `efface.methods.SFD`."""
    if not name.startswith("_"):
        for method in map(resolve, names()):
            if method.__name__ == name:
                return method
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(["Method", "names", "resolve", *(resolve(name).__name__ for name in names())])


@functools.cache
def names() -> tuple[str, ...]:
    """Names of the methods in this folder: the modules that define one."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in modules if _methods_in(f"{__name__}.{name}"))


def resolve(name: str) -> type[Method]:
    """The single Method of `efface.methods.NAME`, or of any module given by its dotted name."""
    if "." not in name and name not in names():
        raise ConfigError(f"method {name!r} is unknown: there is {', '.join(names())}.")
    path = name if "." in name else f"{__name__}.{name}"
    try:
        methods = _methods_in(path)
    except ModuleNotFoundError as error:
        raise ConfigError(f"method {name!r} cannot be imported: {error}.") from error
    if len(methods) != 1:
        raise ConfigError(f"{path} holds {len(methods)} methods: a method's file has exactly one.")
    return methods[0]


def _methods_in(path: str) -> list[type[Method]]:
    """Methods that a module defines; those without a loss are bases of others."""
    module = importlib.import_module(path)
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Method)
        and member.__module__ == module.__name__
        and not inspect.isabstract(member)
    ]
