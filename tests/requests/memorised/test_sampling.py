from __future__ import annotations

from efface.requests.memorised.sampling import PromptSampler, repeat, seeds_for, to_unit


def test_samples_depend_on_their_seed_alone(sampler: PromptSampler, prompt: str) -> None:
    condition = sampler.denoiser.encode([prompt])
    seeds = seeds_for(0, "prompt", 5)
    whole = sampler.sample_one(condition, seeds, "")
    part = sampler.sample(repeat(condition, 2), seeds[3:], "")
    assert (whole[3:].int() - part.int()).abs().max() <= 1
    assert set(seeds).isdisjoint(seeds_for(0, "search", 5))
    assert to_unit(whole).max() <= 1
