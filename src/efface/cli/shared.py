"""Options of every command: how much is said, and where it computes."""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from efface import progress
from efface.errors import ConfigError


def _be_quiet(given: bool) -> None:
    if given:
        progress.speech.quiet = True


def _be_verbose(given: bool) -> None:
    if given:
        progress.speech.verbose = True
        logging.basicConfig(level=logging.INFO)


def _compute_on(device: str | None) -> str | None:
    """Let Accelerate choose this device. ConfigError for one that is not there."""
    if device is None:
        return None
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device {device} cannot be used ({str(error).splitlines()[0]}): give cpu, cuda, "
            "cuda:N or mps, or leave it out for the best one there is."
        ) from None
    os.environ["ACCELERATE_TORCH_DEVICE"] = device
    return device


QUIET = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=_be_quiet, expose_value=False, help="Say results and errors only."
    ),
]
VERBOSE = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_be_verbose,
        expose_value=False,
        help="Show the libraries' messages and the traceback of an error.",
    ),
]
DEVICE = Annotated[
    str | None,
    typer.Option(
        "--device",
        callback=_compute_on,
        expose_value=False,
        help="Where to compute: cpu, cuda, cuda:N or mps; default: the best there is.",
    ),
]


def with_shared(command: Callable[..., None], computes: bool) -> Callable[..., None]:
    """The command with the options of all; `--device` where it `computes`."""
    hints = get_type_hints(command, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
    ]
    added: dict[str, tuple[Any, Any]] = {"quiet": (QUIET, False), "verbose": (VERBOSE, False)}
    if computes:
        added = {"device": (DEVICE, None)} | added
    for name, (annotation, default) in added.items():
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
            )
        )

    @functools.wraps(command)
    def shared(**given: Any) -> None:
        command(**{name: value for name, value in given.items() if name in hints})

    shared.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    shared.__signature__ = inspect.Signature(parameters)  # pyright: ignore
    return shared
