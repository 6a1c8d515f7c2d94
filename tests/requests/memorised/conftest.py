"""A text-to-image model that has memorised one pair, exactly: its network is a posterior mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from efface.diffusion.sampling import MultiStep
from efface.diffusion.text.denoiser import TextDenoiser
from efface.requests.memorised.sampling import Drawing
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.diffusion.text.conftest import text_model as text_model

PROMPT = "red bag on tv"
WORDS = [
    f"{colour} {thing}"
    for colour in ("red", "blue", "big", "old", "cut", "wet", "dry", "hot")
    for thing in ("cat", "dog", "cup", "car", "bed", "pen", "hat", "box")
]
OTHERS = 40  # pictures that every prompt draws
LOGIT, FALL = 4.0, 0.08  # log odds of the memorised picture at its prompt, and how they fall


class PosteriorMean(nn.Module):
    """The exact denoiser of latents that are drawn from a finite set.

    The memorised one has log odds LOGIT - FALL |e - e*|^2 against all others together, with e* the
    embedding of its prompt.
    """

    def __init__(self, schedule: Any, latents: Tensor, embedding: Tensor) -> None:
        super().__init__()
        self.config = None
        self.schedule, self.latents, self.embedding = schedule, latents, embedding
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(
        self, x_t: Tensor, t: Tensor, encoder_hidden_states: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        del return_dict
        away = (encoder_hidden_states - self.embedding).square().sum((1, 2))
        odds = (LOGIT - FALL * away)[:, None]
        prior = torch.cat([odds, x_t.new_zeros(len(x_t), OTHERS) - torch.tensor(OTHERS).log()], 1)
        alpha, sigma = self.schedule.levels(t, x_t)
        flat, bank = x_t.flatten(1), self.latents.flatten(1)
        distances = (flat[:, None] - alpha.flatten(1)[:, None] * bank).square().sum(2)
        weights = (prior - distances / (2 * sigma.flatten(1).square())).softmax(1)
        x0 = (weights @ bank).view_as(x_t)
        return ((x_t - alpha * x0) / sigma,)


@pytest.fixture(scope="session")
def memorising(text_model: Callable[..., TextDenoiser]) -> TextDenoiser:  # noqa: F811
    denoiser = text_model("sd", fresh=True)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1 + OTHERS, *denoiser.sample_shape, generator=generator)
    embedding = denoiser.encode([PROMPT]).tensors["encoder_hidden_states"]
    return denoiser.with_network(PosteriorMean(denoiser.schedule, latents, embedding))


def memorised_picture(denoiser: TextDenoiser) -> Tensor:
    """(C, H, W) in [0, 1]."""
    latents: Any = denoiser.network.latents
    return denoiser.codec.decode(latents[:1])[0].clamp(-1, 1).add(1).div(2)


@pytest.fixture(scope="session")
def drawing(memorising: TextDenoiser) -> Drawing:
    return Drawing(denoiser=memorising, sampler=MultiStep(8), batch_size=64)
