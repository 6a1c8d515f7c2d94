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
    from efface import attacks, methods, metrics
    from efface.benchmark.bench import bench
    from efface.cli.doctor import doctor
    from efface.diffusion.loading import load
    from efface.diffusion.single_file import convert
    from efface.evidence.verify import verify
    from efface.requests.classes.request import ForgetClass
    from efface.requests.concept.request import ForgetConcept
    from efface.requests.distil.request import Distil
    from efface.requests.images.request import ForgetImages
    from efface.requests.images.triage import triage
    from efface.requests.memorised.request import ForgetMemorised
    from efface.runs.attack import attack
    from efface.runs.compare import compare
    from efface.runs.demo import demo
    from efface.runs.distil import distil
    from efface.runs.evaluate import evaluate
    from efface.runs.forget import forget
    from efface.runs.list_settings import list_settings
    from efface.runs.listing import list_runs
    from efface.runs.preflight import preflight
    from efface.runs.report import report
    from efface.runs.sample import sample
    from efface.zoo.build.classifier import train_classifier
    from efface.zoo.build.scene_networks import train_autoencoder, train_detector
    from efface.zoo.build.train import train

__version__ = "0.1.0"
_HOMES = {
    "Distil": "requests.distil.request",
    "ForgetClass": "requests.classes.request",
    "ForgetConcept": "requests.concept.request",
    "ForgetImages": "requests.images.request",
    "ForgetMemorised": "requests.memorised.request",
    "attack": "runs.attack",
    "bench": "benchmark.bench",
    "compare": "runs.compare",
    "convert": "diffusion.single_file",
    "demo": "runs.demo",
    "distil": "runs.distil",
    "doctor": "cli.doctor",
    "evaluate": "runs.evaluate",
    "forget": "runs.forget",
    "list_runs": "runs.listing",
    "list_settings": "runs.list_settings",
    "load": "diffusion.loading",
    "preflight": "runs.preflight",
    "report": "runs.report",
    "sample": "runs.sample",
    "train": "zoo.build.train",
    "train_autoencoder": "zoo.build.scene_networks",
    "train_classifier": "zoo.build.classifier",
    "train_detector": "zoo.build.scene_networks",
    "triage": "requests.images.triage",
    "verify": "evidence.verify",
}
_FOLDERS = ("attacks", "methods", "metrics")
__all__ = [  # noqa: PLE0604
    "Distil",
    "ForgetClass",
    "ForgetConcept",
    "ForgetImages",
    "ForgetMemorised",
    "__version__",
    "attack",
    "attacks",
    "bench",
    "compare",
    "convert",
    "demo",
    "distil",
    "doctor",
    "evaluate",
    "forget",
    "list_runs",
    "list_settings",
    "load",
    "methods",
    "metrics",
    "preflight",
    "report",
    "sample",
    "train",
    "train_autoencoder",
    "train_classifier",
    "train_detector",
    "triage",
    "verify",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Import torch and diffusers only when something that needs them is used."""
    if name in _FOLDERS:
        return importlib.import_module(f"efface.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'efface' has no attribute {name!r}")
    return getattr(importlib.import_module(f"efface.{_HOMES[name]}"), name)
