from __future__ import annotations

import pytest

from efface.requests.memorised.sampling import PromptSampler, to_unit


def test_samples_depend_on_their_seed_alone(sampler: PromptSampler, prompt: str) -> None:
    whole = sampler.sample([prompt, "red cat"], 3, "prompt")
    part = sampler.sample([prompt], 2, "prompt")
    assert len(whole) == 6 and (whole[:2].int() - part.int()).abs().max() <= 1
    assert set(sampler.seeds("prompt", 5)).isdisjoint(sampler.seeds("search", 5))
    assert to_unit(whole).max() <= 1


def test_norms_are_means_over_draws(sampler: PromptSampler, prompt: str) -> None:
    prompts = [prompt, "red cat"]
    whole = sampler.norms(prompts, 3)
    assert whole.shape == (2,) and whole[0] > whole[1]
    assert sampler.norms([prompt], 3) == pytest.approx(whole[:1], rel=1e-5)
