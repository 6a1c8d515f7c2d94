"""The Spec of every figure that the package has, by name."""

from __future__ import annotations

import importlib
import pkgutil

import efface.metrics
from efface.metrics.base import Metric
from efface.records import Spec
from efface.requests.images import results as images
from efface.requests.memorised import protocol as memorised


def all_specs() -> dict[str, Spec]:
    """Of all metrics, and of what requests about images measure beside them."""
    modules = [
        importlib.import_module(f"efface.metrics.{module.name}")
        for module in pkgutil.iter_modules(efface.metrics.__path__)
    ]
    values = [value for module in (*modules, images, memorised) for value in vars(module).values()]
    found = [value.spec for value in values if isinstance(value, Metric)]
    found += [value for value in values if isinstance(value, Spec)]
    found += [memorised.of_prompt(memorised.SHARE, memorised.MODIFIED)]
    found += [memorised.of_prompt(memorised.QUALITY, memorised.MODIFIED)]
    return {spec.name: spec for spec in found}


SPECS = all_specs()


def spec_of(metric: str, **changes: object) -> Spec:
    """A figure's own Spec, or that of a figure that nobody knows."""
    unknown = Spec(
        name=metric, label=metric.replace("_", " "), meaning="", unit="share", side="retain",
        better="more",
    )  # fmt: skip
    return SPECS.get(metric, unknown).model_copy(update=changes)
