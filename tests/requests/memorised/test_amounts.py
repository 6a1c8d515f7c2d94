from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from efface.diffusion.denoiser import VAECodec
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep
from efface.memory.live import Live, tensors_of
from efface.requests.memorised.material import expected_amounts
from efface.requests.memorised.sampling import PromptSampler, text_noise_norms
from efface.settings.base import Settings
from tests.text_pipelines import load_text

CHANGES = ["evaluate.batch_size=8", "memorised.images=64", "memorised.control_images=2"]


@pytest.mark.parametrize("kind", ["sd", pytest.param("sd3", marks=pytest.mark.slow)])
def test_what_preparation_takes_is_estimated(
    kind: str, pipelines: Callable[[str], Path], make_settings: Callable[..., Settings]
) -> None:
    """Beside all parts of the model: sampling, and norms of many rows."""
    denoiser = load_text(pipelines(kind))
    denoiser.prompts.null(None)
    modules = [denoiser.network, cast(VAECodec, denoiser.codec).vae]
    sampler = PromptSampler(denoiser=denoiser, sampler=MultiStep(1), batch_size=8)
    with Live(sum(map(tensors_of, modules), [])) as live:
        sampler.sample(["a red bag"], 118, "prompt")
        text_noise_norms(denoiser, ["a bag", "a cat"] * 4, range(8))
    amounts = expected_amounts(inspect_model(pipelines(kind)), make_settings(CHANGES))
    assert amounts.preparation == pytest.approx(live.peak - live.given, rel=0.2)
