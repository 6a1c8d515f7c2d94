"""One view of every text-to-image network: prompts encoded once, null conditions, guidance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from efface.data.randomness import Shard
from efface.data.source import ConditionSource
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ModelError, RequestError

Make = Callable[..., TextDenoiser]


def noisy(denoiser: TextDenoiser, rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    t = torch.randint(denoiser.schedule.num_timesteps, (rows,), generator=generator)
    return torch.randn(rows, *denoiser.sample_shape, generator=generator), t


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


def test_copies_share_the_encoders_and_nothing_of_the_network(text_model: Make) -> None:
    denoiser = text_model("sd")
    copy = denoiser.clone()
    assert copy.prompts is denoiser.prompts
    assert copy.codec is denoiser.codec
    own, other = next(denoiser.network.parameters()), next(copy.network.parameters())
    assert own.data_ptr() != other.data_ptr()
    assert not any(p.requires_grad for p in denoiser.codec.vae.parameters())
    encoder = denoiser.prompts._pipeline.text_encoder
    assert not any(p.requires_grad for p in encoder.parameters())


def test_other_prompts_give_other_predictions(text_model: Make, kind: str) -> None:
    denoiser = text_model(kind)
    x_t, t = noisy(denoiser, 1)
    outputs = [denoiser(x_t, t, denoiser.encode([p])).output for p in ("a cat", "two bags")]
    assert outputs[0].shape == x_t.shape
    assert (outputs[0] - outputs[1]).abs().max() > 1e-2


@torch.no_grad()
def test_guidance_combines_the_prompt_with_the_empty_one(text_model: Make, kind: str) -> None:
    denoiser = text_model(kind)
    x_t, t = noisy(denoiser, 3)
    asked = denoiser.encode(["a cat", "a bag", "a coat"])
    null = denoiser(x_t, t, denoiser.null(asked)).output
    by_hand = null + 3 * (denoiser(x_t, t, asked).output - null)
    assert_close(denoiser(x_t, t, asked, guidance=3.0).output, by_hand, rtol=1e-4, atol=1e-5)


def test_the_null_condition_is_the_empty_prompt_or_zeros_where_the_pipeline_says_so(
    text_model: Make, kind: str
) -> None:
    denoiser = text_model(kind)
    like = denoiser.encode(["a cat", "two bags"])
    null, empty = denoiser.null(like), denoiser.encode(["", ""])
    denoiser.require_null()
    for name, tensor in null.tensors.items():
        zeros = kind == "sdxl" and name in ("encoder_hidden_states", "text_embeds")
        assert_close(tensor, torch.zeros_like(tensor) if zeros else empty.tensors[name])
    if kind == "sdxl":
        assert null.tensors["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]] * 2


def test_a_negative_prompt_takes_the_place_of_the_empty_one(text_model: Make, kind: str) -> None:
    denoiser = text_model(kind).with_negative_prompt("a bag")
    null = denoiser.null(denoiser.encode(["a cat"]))
    for name, tensor in denoiser.encode(["a bag"]).tensors.items():
        assert_close(null.tensors[name], tensor, rtol=0, atol=0)


@torch.no_grad()
def test_a_call_without_condition_asks_for_the_standing_prompt(text_model: Make, kind: str) -> None:
    denoiser = text_model(kind)
    x_t, t = noisy(denoiser, 2)
    asked = denoiser.encode(["a cat", "a cat"])
    assert_close(denoiser(x_t, t).output, denoiser(x_t, t, denoiser.null(asked)).output)
    assert_close(denoiser.with_prompt("a cat")(x_t, t).output, denoiser(x_t, t, asked).output)
    with pytest.raises(ModelError, match=r"guidance 2.0 needs a condition"):
        denoiser(x_t, t, None, guidance=2.0)


def test_a_table_of_prompts_feeds_batches_and_null_rows_mix_in(text_model: Make, kind: str) -> None:
    denoiser = text_model(kind)
    prompts = ["a cat", "a dog", "a coat", "a bag"]
    table = denoiser.encode(prompts)
    source = ConditionSource(
        table=table,
        retain=[0, 1, 2],
        forget=[3],
        replacements=[[2]],
        retain_rows=4,
        forget_rows=2,
        seed=0,
    )
    batch = source.batch(0, Shard())
    asked, target = batch.condition, batch.target
    assert asked is not None
    assert target is not None
    dropped = torch.tensor([True, False] * 3)
    mixed = asked.where(dropped, denoiser.null(asked))
    for name, tensor in table.tensors.items():
        assert_close(asked.tensors[name][4:], tensor[[3, 3]])
        assert_close(target.tensors[name][4:], tensor[[2, 2]])
        assert_close(mixed.tensors[name][::2], denoiser.null(asked).tensors[name][::2])
        assert_close(mixed.tensors[name][1::2], asked.tensors[name][1::2])


@torch.no_grad()
def test_pixart_networks_for_large_pictures_are_told_the_size(text_model: Make) -> None:
    """The stock pipeline does so at 1024 pixels alone, too large for a test of its pictures."""
    denoiser = text_model("pixart_alpha_told_size")
    x_t, t = noisy(denoiser, 2)
    condition = denoiser.encode(["a cat", "two bags"])
    size = {"resolution": torch.full((2, 2), 16.0), "aspect_ratio": torch.ones(2, 1)}
    output = denoiser.network(
        x_t,
        timestep=t,
        encoder_hidden_states=condition.tensors["encoder_hidden_states"],
        encoder_attention_mask=condition.tensors["encoder_attention_mask"],
        added_cond_kwargs=size,
    ).sample
    assert_close(denoiser(x_t, t, condition).output, output[:, :4])


# Characters are tokens: CLIP's mark the beginning and the end, T5's the end, with a space first.
LONGEST = {"sd": 14, "sdxl": 14, "sd3": 14, "flux": 14, "pixart_alpha": 118, "pixart_sigma": 298}


@pytest.mark.parametrize("family", LONGEST)
def test_a_prompt_that_an_encoder_would_cut_is_refused(text_model: Make, family: str) -> None:
    denoiser, longest = text_model(family), LONGEST[family]
    denoiser.prompts.check(["a" * longest])
    limit = longest + 2
    sentence = rf"the prompt 'a+(\.\.\.)?' has {limit + 1} tokens, and the text_encoder of this "
    with pytest.raises(RequestError, match=sentence + f"model reads at most {limit},"):
        denoiser.encode(["a cat", "a" * (longest + 1)])
    assert "a" * (longest + 1) not in denoiser.prompts._rows


def test_prompts_are_text(text_model: Make) -> None:
    with pytest.raises(RequestError, match="3 is no prompt"):
        text_model("sd").encode([3])


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


def test_the_named_attention_layers_are_those_of_the_network(text_model: Make, kind: str) -> None:
    denoiser = text_model(kind)
    linear = [
        name
        for name, module in denoiser.network.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    for target in denoiser.family.attention:
        assert any(name.endswith(f".{target}") for name in linear), target
    # Every projection of a query is in an attention that the table knows.
    queries = {name for name in linear if name.rsplit(".", 1)[-1].endswith(("to_q", "q_proj"))}
    known = tuple(f".{target}" for target in denoiser.family.attention)
    assert queries
    assert all(name.endswith(known) for name in queries)
