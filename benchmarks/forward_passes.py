"""Costs of training: in forward passes, and of one pass in floating-point operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
from torch.utils.flop_counter import FlopCounterMode

from efface.methods.base import Method
from efface.methods.sfd import SFD


def forwards(method: Method) -> int:
    """Cost of one image in forward passes; a backward pass is 2, or 1 to the input alone.

    SFD: student 3, fake score learning 3, teacher and fake score with gradient to the image 2 each,
    and once more the student if the phases do not share its pass.
    """
    if not isinstance(method, SFD):
        return 3
    return 10 if method.share_student_pass else 11


def forward_flops(folder: Path) -> dict[str, int]:
    """Parameters of a saved UNet2DModel and floating-point operations of one pass for one image."""
    config: Any = diffusers.UNet2DModel.load_config(folder)
    with torch.device("meta"):
        network: Any = diffusers.UNet2DModel.from_config(config)
        x = torch.empty(1, config["in_channels"], config["sample_size"], config["sample_size"])
        zero = torch.zeros(1, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x, zero, class_labels=zero)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "flops": counter.get_total_flops(),
    }
