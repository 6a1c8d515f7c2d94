"""Loosening a prompt until it draws the memorised picture only sometimes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from torch.testing import assert_close

from efface.diffusion import sampling
from efface.diffusion.denoiser import Condition
from efface.diffusion.text.denoiser import TextDenoiser
from efface.memory.live import Live, tensors_of
from efface.metrics.copy_similarity import pixels
from efface.requests.memorised.embedding_descent import (
    EMBEDDED,
    Descent,
    blend,
    descend,
    loosen_embedding,
)
from efface.requests.memorised.sampling import Drawing
from efface.requests.memorised.searching import Band, Prober, Tried, bisect
from efface.requests.memorised.similarity import CopyDetector
from efface.requests.memorised.text_noise import text_noise_norms
from efface.requests.memorised.token_edits import drops, insertions, loosen_words, replacements
from tests.requests.memorised.conftest import PROMPT, memorised_picture

BAND = Band(low=0.2, high=0.8)
FILLERS = ("new", "old")


def make_prober(drawing: Drawing, left: int = 12, band: Band = BAND) -> Prober:
    return Prober(
        drawing=drawing,
        detector=CopyDetector(
            reference=memorised_picture(drawing.denoiser), threshold=0.9, features=pixels
        ),
        band=band,
        seeds=range(16),
        norm_seeds=range(2),
        left=left,
    )


def test_one_word_goes_is_replaced_or_comes_in() -> None:
    words = ("a", "red", "bag")
    assert drops(words) == [("red", "bag"), ("a", "bag"), ("a", "red")]
    assert drops(("bag",)) == []
    assert replacements(words, [1], FILLERS) == [("a", "new", "bag"), ("a", "old", "bag")]
    assert insertions(words, [2], ["new"]) == [("a", "red", "new", "bag"), (*words, "new")]


def test_words_are_changed_until_the_picture_comes_only_sometimes(drawing: Drawing) -> None:
    prober = make_prober(drawing)
    found = loosen_words(prober, drawing.denoiser, PROMPT, 3, FILLERS)
    assert found is not None
    assert BAND.holds(found.tried)
    text = found.tried.text
    assert text is not None and text != PROMPT
    assert set(text.split()) <= {*PROMPT.split(), *FILLERS}
    start = float(
        text_noise_norms(drawing.denoiser, drawing.denoiser.encode([PROMPT]), range(2)).mean()
    )
    assert found.tried.norm < start
    again = make_prober(drawing)
    assert loosen_words(again, drawing.denoiser, PROMPT, 3, FILLERS) is not None
    assert again.tried == prober.tried


def test_descent_lowers_the_norm_and_leaves_the_first_token(memorising: TextDenoiser) -> None:
    asked = memorising.encode([PROMPT])
    descent = Descent(steps=10, rate=0.05, target=0.0)
    lower, norms = descend(memorising, asked, range(2), descent)
    assert len(norms) == 10 and norms[-1] < 0.9 * norms[0]
    assert lower.tensors[EMBEDDED][:, 0].equal(asked.tensors[EMBEDDED][:, 0])
    assert not lower.tensors[EMBEDDED][:, 1:].equal(asked.tensors[EMBEDDED][:, 1:])
    again, _ = descend(memorising, asked, range(2), descent)
    assert again.tensors[EMBEDDED].equal(lower.tensors[EMBEDDED])
    reached, norms = descend(memorising, asked, range(2), replace(descent, target=norms[4]))
    assert len(norms) == 5


def test_descent_lowers_the_norm_of_a_real_network_whose_weights_stay(text_model) -> None:
    denoiser = text_model("sd", fresh=True)
    asked = denoiser.encode([PROMPT])
    _, norms = descend(denoiser, asked, range(2), Descent(steps=8, rate=0.05, target=0.0))
    assert norms[-1] < 0.9 * norms[0]
    assert all(p.grad is None and p.requires_grad for p in denoiser.network.parameters())


def test_a_descent_one_noise_after_the_other_is_the_same(
    text_model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As latents too large to be passed together are; a row takes a fifth of what five do."""
    denoiser = text_model("sd")
    asked = denoiser.encode([PROMPT])
    descent, kept, found = Descent(steps=3, rate=0.05, target=0.0), [], []
    for most in (2**20, 1):
        monkeypatch.setattr(sampling, "MOST_ENTRIES", most)
        with Live(tensors_of(denoiser.network)) as live:
            found.append(descend(denoiser, asked, range(5), descent))
        kept.append(live.more)
    (together, norms), (apart, norms_apart) = found
    assert norms_apart == pytest.approx(norms, rel=1e-5)
    assert_close(apart.tensors[EMBEDDED], together.tensors[EMBEDDED], rtol=1e-3, atol=1e-4)
    assert kept[1] < 0.4 * kept[0]


def test_a_blend_ends_in_both_embeddings(memorising: TextDenoiser) -> None:
    one, other = (memorising.encode([text]) for text in (PROMPT, "red cat"))
    assert blend(one, other, 0.0).tensors[EMBEDDED].equal(one.tensors[EMBEDDED])
    assert blend(one, other, 1.0).tensors[EMBEDDED].equal(other.tensors[EMBEDDED])


def test_an_embedding_is_found_between_the_prompt_and_where_the_descent_ends(
    drawing: Drawing,
) -> None:
    """The descent goes so far that no copy is left, so that only the way there holds any."""
    descent = Descent(steps=60, rate=0.1, target=0.0)
    prober = make_prober(drawing)
    found = loosen_embedding(prober, drawing.denoiser.encode([PROMPT]), descent)
    assert found is not None
    assert prober.tried[0].weight == 1.0 and prober.tried[0].share < BAND.low
    assert BAND.holds(found.tried) and found.tried.weight is not None
    assert 0 < found.tried.weight < 1
    prober = make_prober(drawing, left=1)
    assert loosen_embedding(prober, drawing.denoiser.encode([PROMPT]), descent) is None


def test_further_descents_aim_lower(drawing: Drawing) -> None:
    """The first one reaches its target while all is still copied: the same again is no try."""
    start = drawing.denoiser.encode([PROMPT])
    prober = make_prober(drawing, left=3, band=Band(low=0.001, high=0.002))
    (norm,) = prober.norms(start)
    loosen_embedding(prober, start, Descent(steps=60, rate=0.02, target=0.99 * norm))
    assert prober.tried[0].share > 0.5
    norms = [tried.norm for tried in prober.tried if tried.weight == 1.0]
    assert len(norms) > 1
    assert all(after < 0.9 * before for before, after in itertools.pairwise(norms))


@pytest.mark.parametrize("edge", [0, 3, 7, 12, 15])
def test_bisection_finds_the_one_candidate_in_the_band(drawing: Drawing, edge: int) -> None:
    """Shares that fall from 1 to 0 with one candidate between."""
    prober = make_prober(drawing, left=99)
    seen: list[int] = []

    def probe(number: int) -> Tried:
        seen.append(number)
        share = 10 if number < edge else 5 if number == edge else 0
        return Tried(way="tokens", text=None, weight=None, norm=0.0, copies=share, images=10)

    assert bisect(16, probe, prober) == edge
    assert len(seen) <= math.ceil(math.log2(16)) + 1


def test_a_search_that_finds_nothing_says_so_within_its_tries(drawing: Drawing) -> None:
    prober = make_prober(drawing, left=4, band=Band(low=0.999, high=0.9999))
    assert loosen_words(prober, drawing.denoiser, PROMPT, 3, FILLERS) is None
    assert 1 <= len(prober.tried) <= 4
    asked: Condition = drawing.denoiser.encode([PROMPT])
    prober.left = 4
    assert loosen_embedding(prober, asked, Descent(steps=2, rate=0.05, target=0.0)) is None
