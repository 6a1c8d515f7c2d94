"""Checks the installation, above all what breaks diffusers from afar."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

NEEDED = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "sklearn")
EXTRAS = {"data": "datasets", "metrics": "torchmetrics", "onnx": "onnxruntime"}


@dataclass(frozen=True)
class Finding:
    good: bool
    text: str


def examine() -> list[Finding]:
    """What is installed and whether it works; torchvision first, since it breaks the others."""
    findings = [_torchvision(), *map(_importable, NEEDED)]
    if findings[1].good:
        import torch

        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        where = ", ".join(devices) or f"CPU with {torch.get_num_threads()} threads"
        findings.append(Finding(True, f"runs on {where}"))
    for extra, module in EXTRAS.items():
        present = importlib.util.find_spec(module) is not None
        state = "present" if present else f"absent: pip install 'efface[{extra}]' if you need it"
        findings.append(Finding(True, f"extra '{extra}': {state}"))
    return findings


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
