"""Make a diffusion model forget, and prove it."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Threads that wait by spinning make training ten times slower on a machine that does anything
# else, and threads that sleep at once are slow to wake: a short spin, then sleep. OpenMP reads
# this when torch is first imported, so it has to be set here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

if TYPE_CHECKING:
    from efface.diffusion.loading import load
    from efface.reporting import write_report as report
    from efface.requests.base import (
        Distil,
        DistilText,
        ForgetClass,
        ForgetConcept,
        ForgetImages,
        ForgetMemorised,
    )
    from efface.requests.images.triage import triage
    from efface.runs.evaluate import evaluate
    from efface.runs.forget import forget
    from efface.zoo.build.train import train

__version__ = "0.1.0"
__all__ = [
    "Distil",
    "DistilText",
    "ForgetClass",
    "ForgetConcept",
    "ForgetImages",
    "ForgetMemorised",
    "evaluate",
    "forget",
    "load",
    "report",
    "train",
    "triage",
]

_HOMES = {
    "load": ("efface.diffusion.loading", "load"),
    "report": ("efface.reporting", "write_report"),
    "ForgetClass": ("efface.requests.base", "ForgetClass"),
    "ForgetConcept": ("efface.requests.base", "ForgetConcept"),
    "ForgetImages": ("efface.requests.base", "ForgetImages"),
    "ForgetMemorised": ("efface.requests.base", "ForgetMemorised"),
    "DistilText": ("efface.requests.base", "DistilText"),
    "Distil": ("efface.requests.base", "Distil"),
    "evaluate": ("efface.runs.evaluate", "evaluate"),
    "forget": ("efface.runs.forget", "forget"),
    "train": ("efface.zoo.build.train", "train"),
    "triage": ("efface.requests.images.triage", "triage"),
}


def __getattr__(name: str) -> Any:
    """Import torch and diffusers only when something that needs them is used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'efface' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
