from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from efface.diffusion.codec import VAECodec
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep
from efface.memory.live import Live, tensors_of
from efface.requests.memorised.embedding_descent import descend
from efface.requests.memorised.material import expected_amounts
from efface.requests.memorised.sampling import PromptSampler
from efface.requests.memorised.text_noise import text_noise_norms
from efface.settings.base import Settings
from tests.text_pipelines import load_text

CHANGES = ["evaluate.batch_size=8", "memorised.images=64", "memorised.control_images=2"]


@pytest.mark.parametrize("kind", ["sd", pytest.param("sd3", marks=pytest.mark.slow)])
def test_what_preparation_takes_is_estimated(
    kind: str, pipelines: Callable[[str], Path], make_settings: Callable[..., Settings]
) -> None:
    """Beside all parts of the model: sampling, norms of many rows, and a descent."""
    denoiser = load_text(pipelines(kind))
    condition = denoiser.encode(["a red bag"])
    denoiser.prompts.null(None)
    modules = [denoiser.network, cast(VAECodec, denoiser.codec).vae]
    sampler = PromptSampler(denoiser=denoiser, sampler=MultiStep(1), batch_size=8)
    with Live(sum(map(tensors_of, modules), [])) as live:
        sampler.sample_one(condition, range(118), "samples")
        text_noise_norms(denoiser, denoiser.encode(["a bag", "a cat"] * 4), range(8))
        descend(denoiser, condition, range(8), 0.0, steps=1)
    amounts = expected_amounts(inspect_model(pipelines(kind)), make_settings(CHANGES), True)
    assert amounts.preparation == pytest.approx(live.peak - live.given, rel=0.2)


def test_a_descent_counts_where_a_prompt_is_searched_for(
    pipelines: Callable[[str], Path], make_settings: Callable[..., Settings]
) -> None:
    model = inspect_model(pipelines("sd"))
    settings = make_settings([*CHANGES, "memorised.noises=64"])
    given, searched = (expected_amounts(model, settings, searched) for searched in (False, True))
    assert searched.preparation > given.preparation
    assert not given.savings
    for name, values in searched.savings.items():
        for value in values:
            without = expected_amounts(model, settings.changed({name: value}), True)
            assert without.preparation == given.preparation and not without.savings


def test_measuring_takes_at_least_the_norms(
    pipelines: Callable[[str], Path], make_settings: Callable[..., Settings]
) -> None:
    model = inspect_model(pipelines("sd"))
    sizes = [
        expected_amounts(model, make_settings([f"evaluate.dtype={dtype}"]), False).sampling
        for dtype in ("float32", "bfloat16")
    ]
    assert sizes[0] > 0 and sizes[1] > 0
