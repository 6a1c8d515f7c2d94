"""Which settings make a run fit into memory: the fewest that do."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from efface.errors import ConfigError
from efface.memory.amounts import Amounts
from efface.memory.estimate import readable
from efface.settings.base import Settings
from efface.training.parts import check_parts

SUGGESTED_RANK = 16
FEW = 4  # samples at once
ADAPTERS = ("train.lora_rank", "train.base_dtype")


def advise(
    settings: Settings,
    amounts: Amounts,
    processes: int,
    available: int,
    needed: Callable[[Settings], int],
) -> str:
    """The fewest changes that bring what is `needed` down to what is available.

    `needed` raises ConfigError for a LoRA that finds nothing to change.
    """

    def size(changes: Mapping[str, Any]) -> float:
        try:
            return needed(settings.changed(changes))
        except ConfigError:
            return math.inf

    choices = _choices(settings, amounts, processes)
    if size({"train.lora_rank": SUGGESTED_RANK}) == math.inf:
        choices = {name: values for name, values in choices.items() if name not in ADAPTERS}
    least = size({name: values[-1] for name, values in choices.items()})
    if least > available:
        return (
            f"no setting brings it below {readable(least)}, so take a smaller model or a machine "
            "with more memory"
        )
    changes = next(_fitting(choices, lambda changes: size(changes) <= available))
    text = " and ".join(f"{name}={_written(value)}" for name, value in changes.items())
    return f"with {text} it needs about {readable(size(changes))}"


def _choices(settings: Settings, amounts: Amounts, processes: int) -> Mapping[str, Sequence[Any]]:
    """Values that take less and less memory, by SECTION.NAME of the settings."""
    train, evaluate = settings.train, settings.evaluate
    choices = {
        "train.gradient_checkpointing": [] if train.gradient_checkpointing else [True],
        "train.accumulation": list(accumulations(settings, amounts.forget_rows, processes)),
        "train.lora_rank": [SUGGESTED_RANK] if train.lora_rank is None else [],
        "train.base_dtype": ["bfloat16"] if train.base_dtype == "float32" else [],
        "evaluate.batch_size": [FEW] if evaluate.batch_size > FEW else [],
        "evaluate.dtype": ["bfloat16"] if evaluate.dtype == "float32" else [],
    }
    return {name: values for name, values in {**choices, **amounts.savings}.items() if values}


def accumulations(settings: Settings, forget_rows: int, processes: int) -> Iterator[int]:
    """More parts of a batch than now, as many as share it equally."""
    for count in range(settings.train.accumulation + 1, settings.train.batch_size + 1):
        with contextlib.suppress(ConfigError):
            train = settings.train.model_copy(update={"accumulation": count})
            check_parts(settings.method, train, forget_rows, processes)
            yield count


def _fitting(
    choices: Mapping[str, Sequence[Any]], fits: Callable[[Mapping[str, Any]], bool]
) -> Iterator[Mapping[str, Any]]:
    """Changes that fit, the fewest first, and of one setting no more than it takes."""
    for count in range(1, len(choices) + 1):
        for names in itertools.combinations(choices, count):
            if not fits({name: choices[name][-1] for name in names}):
                continue
            for values in itertools.product(*(choices[name] for name in names)):
                changes = dict(zip(names, values, strict=True))
                if fits(changes):
                    yield changes


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
