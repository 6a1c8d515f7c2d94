"""Prompts that are too long, by tokenizers alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers.loaders import TextualInversionLoaderMixin
from torch.testing import assert_close

from efface.diffusion.loading import load
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.families import FAMILIES
from efface.diffusion.text.prompts import check_prompts, load_readers, whole_prompts
from efface.errors import RequestError
from tests.text_pipelines import BUILD, inspect_small, load_text, stable_diffusion

Pipelines = Callable[[str], Path]
# A character is a token. CLIP's mark the beginning and the end, T5's the end, with a space first.
LONGEST = {"sd": 14, "sd_v": 14, "sdxl": 14, "sd3": 254, "sd3_without_t5": 14, "sd35": 254}
LONGEST |= {"flux": 510, "flux_schnell": 510, "pixart_alpha": 118, "pixart_sigma": 298}
SEVERAL = ("<cat>", "<cat>_1", "<cat>_2", "<cat>_3")  # one word for four vectors


@pytest.mark.parametrize(("kind", "longest"), LONGEST.items())
def test_lengths_are_checked_without_weights_by_the_encoder_that_reads_most(
    pipelines: Pipelines, kind: str, longest: int
) -> None:
    readers = load_readers(inspect_small(pipelines(kind)))
    check_prompts(["a" * longest], readers)
    given = ["b" * longest, "b" * (longest + 1), "a cat"]
    assert whole_prompts(given, readers) == ["b" * longest, "a cat"]
    for refuse in (check_prompts, whole_prompts):
        with pytest.raises(RequestError, match=f"has {longest + 3} tokens.* most {longest + 2},"):
            refuse(["a" * (longest + 1)], readers)


@pytest.mark.parametrize("kind", ["sd", "flux"])
def test_a_loaded_model_refuses_with_the_same_words(pipelines: Pipelines, kind: str) -> None:
    info = inspect_small(pipelines(kind))
    long = ["a" * (LONGEST[kind] + 1)]
    with pytest.raises(RequestError) as early:
        check_prompts(long, load_readers(info))
    with pytest.raises(RequestError) as late:
        load(info).encode(long)
    assert str(early.value) == str(late.value)


def test_prompts_that_are_left_out_are_said_once(
    pipelines: Pipelines, capsys: pytest.CaptureFixture[str]
) -> None:
    readers = load_readers(inspect_small(pipelines("sd")))
    assert whole_prompts(["a cat", "b" * 15, "c" * 99, "a dog"], readers) == ["a cat", "a dog"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "2 of 4 prompts, such as 'bbbbbbbbbbbbbbb', are longer than the model reads" in line


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sd3", "sd35", "flux", "flux_schnell"])
def test_an_encoder_that_reads_less_cuts_as_in_the_stock_pipeline(
    text_model: Callable[..., TextDenoiser], kind: str
) -> None:
    text = "a cat on a red mat in a house by the sea, " * 6
    prompts = [*(f"{text[:length].strip()}z" for length in (14, 15, 60, 240)), "a cat"]
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append
    logging.getLogger("diffusers").addHandler(handler)
    encoded = text_model(kind, fresh=True).encode(prompts).tensors
    logging.getLogger("diffusers").removeHandler(handler)
    assert not said  # prompts to forget are shown nowhere
    three = kind.startswith("sd")
    options = {"prompt_3": None, "do_classifier_free_guidance": False} if three else {}
    stock = BUILD[kind]().encode_prompt(prompts, prompt_2=None, **options)
    assert_close(encoded["encoder_hidden_states"], stock[0])
    assert_close(encoded["pooled_projections"], stock[2 if three else 1])


def test_the_table_names_the_families_that_spell_textual_inversions() -> None:
    for family in FAMILIES.values():
        for pipeline in family.pipelines:
            stock = issubclass(getattr(diffusers, pipeline), TextualInversionLoaderMixin)
            assert stock == family.spells_tokens, pipeline


@pytest.fixture(scope="module")
def inverted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with a textual inversion of four vectors, and one of a single vector."""
    pipeline = stable_diffusion()
    pipeline.tokenizer.add_tokens([*SEVERAL, "<dog>"])
    torch.manual_seed(0)
    pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer))
    folder = tmp_path_factory.mktemp("inverted") / "model"
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def stock(inverted: Path) -> diffusers.StableDiffusionPipeline:
    return diffusers.StableDiffusionPipeline.from_pretrained(inverted)


@pytest.fixture(scope="module")
def denoiser(inverted: Path) -> TextDenoiser:
    return load_text(inverted)


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("<cat>", 6),
        ("<dog>", 3),
        ("a <cat>", 7),
        ("a <cat> a", 8),
        ("<cat> <dog>", 7),
        ("<cat> <cat>", 10),
        ("<cat> <cat> <cat>", 14),
        ("<cat> <cat> abcdef", 16),
        ("<cat>, a dog", 11),
        ("a cat", 6),
    ],
)
@torch.no_grad()
def test_a_textual_inversion_has_as_many_tokens_as_vectors(
    denoiser: TextDenoiser,
    stock: diffusers.StableDiffusionPipeline,
    prompt: str,
    tokens: int,
) -> None:
    assert list(denoiser.prompts._readers[0].counts([prompt])) == [tokens]
    encoded = denoiser.encode([prompt]).tensors["encoder_hidden_states"]
    assert_close(encoded, stock.encode_prompt(prompt, "cpu", 1, False)[0])


@pytest.mark.parametrize(
    "prompt", ["<cat> <cat> <cat> <cat>", "<cat> <cat> <cat> abc", "<cat>" * 4]
)
def test_a_textual_inversion_may_make_a_prompt_too_long(inverted: Path, prompt: str) -> None:
    readers = load_readers(inspect_small(inverted))
    with pytest.raises(RequestError, match=r"has 1[78] tokens"):
        check_prompts([prompt], readers)
    assert whole_prompts([prompt, "a <cat>"], readers) == ["a <cat>"]
