"""Prompts are encoded once, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch.testing import assert_close

from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import RequestError

Make = Callable[..., TextDenoiser]
# Characters are tokens: CLIP's mark the beginning and the end, T5's the end, with a space first.
LONGEST = {"sd": 14, "sdxl": 14, "sd3": 254, "flux": 510, "pixart_alpha": 118, "pixart_sigma": 298}
READS_MOST = {"sd3": "text_encoder_3", "flux": "text_encoder_2"}


def count_encoded(denoiser: TextDenoiser) -> list[int]:
    """Rows of every pass of the first text encoder from now on."""
    rows: list[int] = []
    encoder = denoiser.prompts._pipeline.text_encoder
    encoder.register_forward_pre_hook(
        lambda _module, args, kwargs: rows.append(len(args[0] if args else kwargs["input_ids"])),
        with_kwargs=True,
    )
    return rows


def test_every_prompt_is_encoded_once_for_all_copies(text_model: Make, kind: str) -> None:
    denoiser = text_model(kind, fresh=True)
    rows = count_encoded(denoiser)
    student, teacher = denoiser.clone(), denoiser.frozen()
    first = denoiser.encode(["a cat", "two bags", "a cat"])
    student.encode(["two bags"])
    teacher.encode(["a coat", "a cat"])
    for copy in (denoiser, student, teacher):
        copy.null(first)
    assert sum(rows) == denoiser.prompts.encoded == 4  # cat, bags, coat and the empty prompt
    assert len(first) == 3
    for tensor in first.tensors.values():
        assert_close(tensor[0], tensor[2], rtol=0, atol=0)


def test_rows_do_not_depend_on_what_is_encoded_beside_them(text_model: Make, kind: str) -> None:
    denoiser = text_model(kind, fresh=True)
    together = denoiser.encode(["a cat", "a much longer"])
    alone = text_model(kind, fresh=True).encode(["a cat"])
    for name, tensor in together.tensors.items():
        assert_close(tensor[:1], alone.tensors[name])


@pytest.mark.parametrize("family", LONGEST)
def test_a_prompt_that_every_encoder_would_cut_is_refused(text_model: Make, family: str) -> None:
    denoiser, longest = text_model(family), LONGEST[family]
    denoiser.prompts.check(["a" * longest])
    limit = longest + 2
    most = READS_MOST.get(family, "text_encoder")
    sentence = rf"the prompt 'a+(\.\.\.)?' has {limit + 1} tokens, and the {most} of this "
    with pytest.raises(RequestError, match=sentence + f"model reads at most {limit},"):
        denoiser.encode(["a cat", "a" * (longest + 1)])
    assert "a" * (longest + 1) not in denoiser.prompts._rows


def test_prompts_are_text(text_model: Make) -> None:
    for prompt in (3, "half \ud83d of a character"):
        with pytest.raises(RequestError, match="(3|half .* character') is no prompt"):
            text_model("sd").encode([prompt])


def test_the_encoders_can_be_given_up_once_all_prompts_are_known(
    text_model: Make, kind: str
) -> None:
    denoiser = text_model(kind, fresh=True)
    copy = denoiser.clone()
    known = denoiser.encode(["a cat"])
    denoiser.without_encoders()
    for name, tensor in copy.encode(["a cat"]).tensors.items():
        assert_close(tensor, known.tensors[name], rtol=0, atol=0)
    copy.null(known)
    with pytest.raises(RequestError, match="'a dog' was not encoded before the text encoders"):
        copy.encode(["a dog"])


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd_bert", "pixart_alpha"])
def test_the_last_token_of_a_prompt_is_the_one_before_the_mark_of_its_end(
    text_model: Make, family: str
) -> None:
    """By the tokens that the pipeline's own tokenizer makes, with or without a mark before them."""
    denoiser, prompts = text_model(family), ["a cat", "two bags"]
    tokenizer = denoiser.prompts._readers[0].tokenizer
    found = denoiser.prompts.last_tokens(prompts)
    states = denoiser.encode(prompts).tensors["encoder_hidden_states"]
    for row, prompt in enumerate(prompts):
        *_, last, mark = tokenizer(prompt).input_ids
        assert mark in tokenizer.all_special_ids and last not in tokenizer.all_special_ids
        assert_close(found[row], states[row, len(tokenizer(prompt).input_ids) - 2])


def test_a_prompt_that_fills_the_encoder_has_a_last_token_too(text_model: Make) -> None:
    denoiser, longest = text_model("sd"), "a" * LONGEST["sd"]
    states = denoiser.encode([longest]).tensors["encoder_hidden_states"]
    assert_close(denoiser.prompts.last_tokens([longest]), states[:, -2])
