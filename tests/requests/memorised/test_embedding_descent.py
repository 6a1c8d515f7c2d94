from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from torch.testing import assert_close

from efface.diffusion import sampling
from efface.diffusion.text.denoiser import TextDenoiser
from efface.memory.live import Live, tensors_of
from efface.requests.memorised.embedding_descent import (
    EMBEDDED,
    blend,
    descend,
    modify_embedding,
)
from efface.requests.memorised.sampling import PromptSampler
from efface.requests.memorised.searching import Prober


def test_descent_lowers_the_norm_and_keeps_the_first_token(
    memorising: TextDenoiser, prompt: str
) -> None:
    condition = memorising.encode([prompt])
    lower, norms = descend(memorising, condition, range(2), 0.0, steps=10)
    assert len(norms) == 10 and norms[-1] < 0.9 * norms[0]
    assert lower.tensors[EMBEDDED][:, 0].equal(condition.tensors[EMBEDDED][:, 0])
    assert not lower.tensors[EMBEDDED][:, 1:].equal(condition.tensors[EMBEDDED][:, 1:])
    again, _ = descend(memorising, condition, range(2), 0.0, steps=10)
    assert again.tensors[EMBEDDED].equal(lower.tensors[EMBEDDED])
    _, norms = descend(memorising, condition, range(2), norms[4], steps=10)
    assert len(norms) == 5


def test_descent_lowers_the_norm_of_a_real_network_whose_weights_stay(
    text_model: Callable[..., TextDenoiser], prompt: str
) -> None:
    denoiser = text_model("sd", fresh=True)
    condition = denoiser.encode([prompt])
    _, norms = descend(denoiser, condition, range(2), 0.0, steps=8)
    assert norms[-1] < 0.9 * norms[0]
    assert all(p.grad is None and p.requires_grad for p in denoiser.network.parameters())


def test_a_descent_one_noise_after_the_other_is_the_same(
    text_model: Callable[..., TextDenoiser], prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As latents too large to be passed together are; a row takes a fifth of what five do."""
    denoiser = text_model("sd")
    condition = denoiser.encode([prompt])
    kept, found = [], []
    for most in (2**20, 1):
        monkeypatch.setattr(sampling, "MOST_ENTRIES", most)
        with Live(tensors_of(denoiser.network)) as live:
            found.append(descend(denoiser, condition, range(5), 0.0, steps=3))
        kept.append(live.peak - live.given)
    (together, norms), (apart, norms_apart) = found
    assert norms_apart == pytest.approx(norms, rel=1e-5)
    assert_close(apart.tensors[EMBEDDED], together.tensors[EMBEDDED], rtol=1e-3, atol=1e-4)
    assert kept[1] < 0.4 * kept[0]


def test_a_blend_ends_in_both_embeddings(memorising: TextDenoiser, prompt: str) -> None:
    one, other = (memorising.encode([text]) for text in (prompt, "red cat"))
    assert blend(one, other, 0.0).tensors[EMBEDDED].equal(one.tensors[EMBEDDED])
    assert blend(one, other, 1.0).tensors[EMBEDDED].equal(other.tensors[EMBEDDED])


def test_an_embedding_is_found_between_the_prompt_and_where_the_descent_ends(
    make_prober: Callable[..., Prober], sampler: PromptSampler, prompt: str
) -> None:
    """The descent goes so far that no copy is left, so that only the way there holds any."""
    condition = sampler.denoiser.encode([prompt])
    prober = make_prober()
    found = modify_embedding(prober, condition, 0.0, steps=60, rate=0.1)
    assert found is not None
    assert prober.tried[0].weight == 1.0 and prober.tried[0].share < prober.low
    tried = prober.tried[-1]
    assert prober.holds(tried) and tried.weight is not None and 0 < tried.weight < 1
    again = prober(found, tried.way, weight=tried.weight)
    assert again == tried  # the condition that is returned is the one that was tried
    assert modify_embedding(make_prober(left=1), condition, 0.0, steps=60, rate=0.1) is None


def test_further_descents_have_lower_targets(
    make_prober: Callable[..., Prober], sampler: PromptSampler, prompt: str
) -> None:
    """The first one reaches its target while all is still copied: the same again is no try."""
    start = sampler.denoiser.encode([prompt])
    prober = make_prober(left=3, band=(0.001, 0.002))
    (norm,) = prober.norms(start)
    modify_embedding(prober, start, 0.99 * norm, steps=60, rate=0.02)
    assert prober.tried[0].share > 0.5
    norms = [tried.norm for tried in prober.tried if tried.weight == 1.0]
    assert len(norms) > 1
    assert all(after < 0.9 * before for before, after in itertools.pairwise(norms))


def test_a_search_that_finds_nothing_says_so(
    make_prober: Callable[..., Prober], sampler: PromptSampler, prompt: str
) -> None:
    prober, condition = make_prober(left=4, band=(0.999, 0.9999)), sampler.denoiser.encode([prompt])
    assert modify_embedding(prober, condition, 0.0, steps=2) is None
