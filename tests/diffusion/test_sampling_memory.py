"""The estimate of what drawing takes, against live draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from efface.diffusion.adapters import share_network
from efface.diffusion.codec import VAECodec
from efface.diffusion.loading import load_beside, load_text
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep, draw_images
from efface.memory.estimate import estimate
from efface.memory.footprint import _decoding
from efface.memory.live import Live, tensors_of
from efface.settings.reading import read_settings
from tests.diffusion.text.conftest import pipelines as pipelines

Pipelines = Callable[[str], Path]


def drawn(
    pipelines: Pipelines, kind: str, guidance: float, dtype: str
) -> tuple[dict[str, int], Live]:
    """What two networks and a VAE are said to hold while 64 pictures are drawn, and do."""
    info = inspect_model(pipelines(kind))
    info = replace(info, sample_size=8) if kind == "flux" else info
    changes = [f"evaluate.dtype={dtype}", f"evaluate.guidance={guidance}"]
    said = estimate(info, read_settings("sfd", None, [*changes, "evaluate.batch_size=64"]))
    held_in = torch.bfloat16 if dtype == "bf16" else torch.float32
    model = load_text(pipelines(kind), info.sample_size, held_in)
    beside = load_beside(info, model, held_in)
    own = [model.network, beside.network, cast(VAECodec, model.codec).vae]
    asked = model.encode(["a cat", "a dog"] * 32)
    model.prompts.null(None)  # which the text encoders would say while it draws
    live = Live([*sum(map(tensors_of, own), []), *asked.tensors.values()])
    drawing = model if dtype == "float32" else share_network(model)
    with live:
        draw_images(drawing, MultiStep(2, guidance=guidance), asked, range(64), 64)
    return said.evaluation, live


@pytest.mark.parametrize(
    ("kind", "guidance", "dtype"),
    [
        ("sd", 1.0, "float32"),
        ("sd", 7.5, "float32"),
        ("sd", 1.0, "bf16"),  # where decoding takes more than the network
        ("sdxl", 7.5, "bf16"),
        ("flux", 1.0, "float32"),
        pytest.param("sd3", 3.0, "float32", marks=pytest.mark.slow),
        pytest.param("pixart_sigma", 1.0, "float32", marks=pytest.mark.slow),
    ],
)
def test_what_drawing_takes_is_estimated_within_15_percent(
    kind: str, guidance: float, dtype: str, pipelines: Pipelines
) -> None:
    said, live = drawn(pipelines, kind, guidance, dtype)
    assert sum(said.values()) == pytest.approx(live.peak, rel=0.15)


def test_pictures_are_decoded_few_at_once_in_the_estimate_too(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four of 16 x 16 pixels at once, 24 in one pass of the network, 64 in all."""
    monkeypatch.setattr("efface.memory.footprint._decoding", _decoding.__wrapped__)  # not kept
    for module in ("codec", "footprint"):
        monkeypatch.setattr(f"efface.diffusion.{module}.MOST_PIXELS", 4 * 16 * 16)
    whole, _ = drawn(pipelines, "sd", 1.0, "bf16")
    monkeypatch.setattr("efface.diffusion.sampling.MOST_ENTRIES", 24 * 4 * 8 * 8)
    few, live = drawn(pipelines, "sd", 1.0, "bf16")
    assert sum(few.values()) == pytest.approx(live.peak, rel=0.15)
    assert few["samples that are drawn"] < whole["samples that are drawn"] / 2
