"""The networks that recorded figures were measured with, found again on this machine."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efface.data.images import check_source
from efface.data.tables import HUB
from efface.errors import DataError, RequestError
from efface.metrics.extractors import PUBLISHED
from efface.metrics.inception_network import kept_weights
from efface.metrics.nudenet import NUDENET
from efface.metrics.pretrained import find_cached, split_pin
from efface.settings.base import Settings

NETWORKS = ("extractor", "clip", "detector")


class NotHereError(RequestError):
    """What a figure is measured with is not on this machine, so that nothing is said of it."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What whoever verifies gave; without one, the recorded one is looked for."""

    judge: str | Path | None = None
    detector: str | Path | None = None
    clip: str | Path | None = None
    retrained: str | Path | None = None


def networks_here(settings: Settings, given: Given) -> tuple[Settings, dict[str, str]]:
    """Settings with networks on this machine alone; and why others are left out, by name."""
    config, missing = settings.evaluate, dict[str, str]()
    own = {"clip": given.clip, "detector": given.detector}
    found: dict[str, Any] = {}
    for name in NETWORKS:
        source = own.get(name) or getattr(config, name)
        if source is None:
            continue
        try:
            found[name] = on_this_machine(name, str(source))
        except NotHereError as error:
            missing[name] = str(error)
            found[name] = None
    if config.reference is not None:
        if not _has_images(config.reference):
            missing["reference"] = f"the real images {config.reference} are not on this machine."
            found |= {"extractor": None, "reference": None}
        if "extractor" in missing:
            found["reference"] = None
    if found.get("detector", config.detector) is None:
        found["detector_labels"] = ()
    changes = {f"evaluate.{name}": value for name, value in found.items()}
    of_request = {} if settings.own is None else settings.own.model_dump()
    if of_request.get("extractor") is not None:  # nothing of such a run is measured without it
        key = f"{settings.section}.extractor"
        changes[key] = on_this_machine("extractor", of_request["extractor"])
    # Groups of prompts are told apart by a detector or a CLIP alone.
    if "prompt_groups" in of_request and not (found.get("detector") or found.get("clip")):
        changes[f"{settings.section}.prompt_groups"] = None
    return settings.changed(changes), missing


def on_this_machine(which: str, named: str) -> str:
    """Where the recorded network lies; nothing is downloaded because a pack names it.

    NotHereError where it does not lie here.
    """
    source, pin = split_pin(named)
    found = Path(source).exists()
    if which == "detector" and source == NUDENET:
        found = importlib.util.find_spec(NUDENET) is not None
    elif which == "extractor" and source == PUBLISHED:
        found = kept_weights().exists()
    elif not found and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source):
        cached = find_cached(source)
        if cached is not None:
            source, found = str(cached), True
    if not found:
        remedy = "put it there" if which == "extractor" else f"give it with --{which}"
        raise NotHereError(f"the {which} {source} is not on this machine: {remedy}.")
    return source if pin is None else f"{source}@sha256:{pin}"


def _has_images(reference: str) -> bool:
    try:
        check_source(reference)
    except DataError:
        return False
    return not reference.startswith(HUB)
