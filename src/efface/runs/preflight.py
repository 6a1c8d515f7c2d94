"""What a run would take in memory, before its request is known."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from accelerate import Accelerator

from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.errors import ConfigError
from efface.memory.estimate import estimate, readable
from efface.memory.preflight import available_memory, find_shortage
from efface.requests import kinds
from efface.requests.base import Request
from efface.runs.plan import settings_of
from efface.settings.base import Settings


def preflight(
    model: str | Path,
    *,
    kind: str | None = None,
    method: str | None = None,
    recipe: str | Path | None = None,
    changes: Iterable[str] = (),
    size: int | None = None,
) -> tuple[list[tuple[str, str]], str | None]:
    """What a run of a kind of request would take, by default of the first that is possible.

    Returns rows of a table (what each part takes, and what there is) and what to change, None where
    the run is expected to fit. What only its words say, as the number of prompts, is not counted.
    Raises an EffaceError.
    """
    info = inspect_model(model, size=size)
    request, settings = _choose(info, kind, method, recipe, list(changes))
    amounts_of = partial(request.expected_amounts, info)
    accelerator = Accelerator()
    device = accelerator.device
    taken = estimate(info, settings, amounts_of(settings), device.type, accelerator.num_processes)
    sizes = {
        **taken.parts,
        "text encoders, until all prompts are encoded": taken.before["text encoders"],
        "before it trains": sum(taken.before.values()),
        "while it trains": sum(taken.parts.values()),
        "while it is evaluated": sum(taken.evaluation.values()),
        "at most": taken.peak(evaluated=True),
        f"free on {device}": available_memory(device, accelerator.num_processes),
    }
    rows = [(name, readable(size)) for name, size in sizes.items() if size]
    return rows, find_shortage(info, settings, amounts_of, accelerator, evaluated=True)


def _choose(
    model: ModelInfo,
    kind: str | None,
    method: str | None,
    recipe: str | Path | None,
    changes: list[str],
) -> tuple[type[Request], Settings]:
    """A kind of request that the model and the method are for, and the settings of its run."""
    if kind is not None and kind not in kinds():
        raise ConfigError(f"request {kind!r} is unknown: there is {', '.join(sorted(kinds()))}.")
    names = [kind] if kind else sorted(name for name, own in kinds().items() if own.forgets)
    refused: ConfigError | None = None  # a section of another kind may be among the changes
    for request in (kinds()[name] for name in names):
        if not request.suits(model):
            continue
        try:
            settings = settings_of(request, model, method, recipe, changes)
        except ConfigError as error:
            refused = refused or error
            continue
        if request.fits(settings.method):
            return request, settings
    by_method = f" by method {method!r}" if method else ""
    raise refused or ConfigError(
        f"no request of the kind {' or '.join(names)} is possible with {model.source}{by_method}: "
        "give another model, kind or method; `efface methods` lists what each works on."
    )
