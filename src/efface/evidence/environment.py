"""The environment lock: what was installed when a run was made (no torch, no host, no path)."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from efface.records import RunRecord, write_json


class Environment(BaseModel):
    """`environment.json`."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    python: str
    implementation: str
    system: str
    machine: str
    libc: str | None = None
    distributions: dict[str, str]  # by normalised name (PEP 503), in order


def current_environment() -> Environment:
    """The interpreter, the kind of machine, and every installed distribution with its version."""
    distributions: dict[str, str] = {}
    for found in importlib.metadata.distributions():
        name, version = found.metadata["Name"], found.metadata["Version"]
        if name and version:  # an interrupted installation leaves folders without either
            # The first on the path is the one that is imported.
            distributions.setdefault(_normalised(name), version)
    return Environment(
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        system=platform.system(),
        machine=platform.machine(),
        libc=" ".join(platform.libc_ver()).strip() or None,
        distributions=dict(sorted(distributions.items())),
    )


def write_environment(run: Path) -> None:
    """Write `environment.json` into a run folder."""
    write_json(run / "environment.json", current_environment())


def differing_versions(environment: Environment, record: RunRecord) -> list[str]:
    """Names whose versions in the record are others than in the environment."""
    installed = environment.distributions | {"python": environment.python}
    return [n for n, version in record.versions.items() if installed.get(_normalised(n)) != version]


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
