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
    from efface.requests.classes.request import ForgetClass
    from efface.requests.concept.request import ForgetConcept
    from efface.requests.distil.request import Distil
    from efface.requests.images.request import ForgetImages
    from efface.requests.images.triage import triage
    from efface.requests.memorised.request import ForgetMemorised
    from efface.runs.evaluate import evaluate
    from efface.runs.forget import forget
    from efface.zoo.build.train import train

__version__ = "0.1.0"
__all__ = [
    "Distil",
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
    "Distil": ("efface.requests.distil.request", "Distil"),
    "ForgetClass": ("efface.requests.classes.request", "ForgetClass"),
    "ForgetConcept": ("efface.requests.concept.request", "ForgetConcept"),
    "ForgetImages": ("efface.requests.images.request", "ForgetImages"),
    "ForgetMemorised": ("efface.requests.memorised.request", "ForgetMemorised"),
    "evaluate": ("efface.runs.evaluate", "evaluate"),
    "forget": ("efface.runs.forget", "forget"),
    "load": ("efface.diffusion.loading", "load"),
    "report": ("efface.reporting", "write_report"),
    "train": ("efface.zoo.build.train", "train"),
    "triage": ("efface.requests.images.triage", "triage"),
}


def __getattr__(name: str) -> Any:
    """Import torch and diffusers only when something that needs them is used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'efface' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
