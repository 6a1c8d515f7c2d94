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
from efface.errors import ModelError

Make = Callable[..., TextDenoiser]


def noisy(denoiser: TextDenoiser, rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    t = torch.randint(denoiser.schedule.num_timesteps, (rows,), generator=generator)
    return torch.randn(rows, *denoiser.sample_shape, generator=generator), t


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
