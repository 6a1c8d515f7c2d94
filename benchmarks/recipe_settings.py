"""Settings of a kind of request as a recipe has them, for scripts that need them before a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from efface.requests import sections
from efface.requests.base import Request
from efface.settings.base import Settings, read_settings


def request_settings(
    kind: type[Request], recipe: Path | None, changes: Iterable[str] = ()
) -> Settings:
    """The settings of requests of a kind: defaults, then the recipe, then changes."""
    return read_settings(kind.section, kind.own, recipe=recipe, changes=changes, others=sections())
