"""Checks the installation, above all what breaks diffusers from afar."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass

from packaging.requirements import Requirement

NEEDED = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "peft", "sklearn")
DEVELOPERS = {"dev", "docs"}  # extras that users have no need of


@dataclass(frozen=True)
class Finding:
    good: bool
    text: str


def doctor() -> list[Finding]:
    """What is installed and whether it works; torchvision first, since it breaks the others."""
    findings = [_torchvision(), *map(_importable, NEEDED)]
    if findings[1].good:
        import torch

        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        where = ", ".join(devices) or f"CPU with {torch.get_num_threads()} threads"
        findings.append(Finding(True, f"runs on {where}"))
    return findings + [_extra(name) for name in _extras()]


def _extras() -> list[str]:
    names = importlib.metadata.metadata("efface").get_all("Provides-Extra") or []
    return sorted(set(names) - DEVELOPERS)


def _extra(name: str) -> Finding:
    """Whether all that an extra requires is there, in a version that it takes."""
    missing = []
    for text in importlib.metadata.requires("efface") or []:
        needed = Requirement(text)
        marker = needed.marker
        if marker is None or not marker.evaluate({"extra": name}) or marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{needed.name} is missing")
            continue
        if not needed.specifier.contains(version, prereleases=True):
            missing.append(f"{needed.name} is {version} and must be {needed.specifier}")
    if not missing:
        return Finding(True, f"extra '{name}': installed")
    return Finding(
        True, f"extra '{name}': {', '.join(missing)}; pip install 'efface[{name}]' if you need it"
    )


def _torchvision() -> Finding:
    if importlib.util.find_spec("torchvision") is None:
        return Finding(True, "torchvision is not installed, and not needed")
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        return Finding(
            False,
            f"torchvision is installed but cannot be imported ({error}), which breaks diffusers "
            "and transformers: pip uninstall torchvision, or install the build that fits your "
            "torch.",
        )
    return Finding(True, "torchvision works")


def _importable(name: str) -> Finding:
    try:
        module = importlib.import_module(name)
    except (ImportError, RuntimeError, OSError) as error:
        return Finding(False, f"{name} cannot be imported: {error}")
    return Finding(True, f"{name} {module.__version__}")
