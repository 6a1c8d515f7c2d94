"""Is it recoverable: one file is one attack; the file name is its name on the command line."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping

from efface.attacks.base import Attack, Case, Subject
from efface.attacks.benign_fine_tuning import BenignFineTuning, benign_fine_tuning
from efface.attacks.concept_inversion import ConceptInversion, concept_inversion
from efface.attacks.noise_search import NoiseSearch, noise_search
from efface.attacks.partial_denoising import PartialDenoising, partial_denoising
from efface.attacks.relearning import Relearning, relearn
from efface.errors import ConfigError

__all__ = [
    "Attack",
    "BenignFineTuning",
    "Case",
    "ConceptInversion",
    "NoiseSearch",
    "PartialDenoising",
    "Relearning",
    "Subject",
    "benign_fine_tuning",
    "concept_inversion",
    "names",
    "noise_search",
    "partial_denoising",
    "relearn",
    "resolve",
]


@functools.cache
def _attacks() -> Mapping[str, type[Attack]]:
    """By name: the modules of this folder that hold a concrete Attack."""
    found: dict[str, type[Attack]] = {}
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        concrete = [
            member
            for member in vars(module).values()
            if isinstance(member, type)
            and issubclass(member, Attack)
            and member.__module__ == module.__name__
            and not inspect.isabstract(member)
        ]
        assert len(concrete) <= 1, f"{module.__name__} holds {len(concrete)} attacks"
        if concrete:
            found[entry.name] = concrete[0]
    return found


def names() -> list[str]:
    """Names of the attacks in this folder."""
    return sorted(_attacks())


def resolve(name: str) -> type[Attack]:
    """The Attack of `efface.attacks.NAME`."""
    if name not in _attacks():
        raise ConfigError(f"attack {name!r} is unknown: there is {', '.join(names())}.")
    return _attacks()[name]
