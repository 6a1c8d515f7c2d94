"""Unseen images that are compared are spread over all, the same ones every time."""

from __future__ import annotations

import pytest
import torch

from efface.data.images import ImageSet, to_model
from efface.data.split import Split
from efface.requests.images.protocol import ImageProtocol
from efface.requests.images.settings import ImageSettings
from efface.settings.evaluate import EvaluateSettings

COUNT = 40
IMAGES = ImageSet(
    images=torch.arange(COUNT, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2),
    labels=None,
    names=tuple(map(str, range(COUNT))),
)


def protocol(unseen: int, images: ImageSet | None = IMAGES) -> ImageProtocol:
    own = ImageSettings(unseen=unseen, samples=12)
    config = EvaluateSettings(seed=100)
    return ImageProtocol(
        split=Split(forget=IMAGES.select(torch.arange(2))), unseen=images, config=config, own=own
    )


@pytest.mark.parametrize("unseen", [4, 40, 100])
def test_as_many_are_chosen_as_there_are_at_most_and_from_both_ends(unseen: int) -> None:
    chosen = protocol(unseen).chosen_unseen()
    assert chosen is not None
    assert torch.equal(chosen, protocol(unseen).chosen_unseen())
    values = ((chosen[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
    assert len(values) == len(set(values)) == min(unseen, COUNT)
    assert {0, COUNT - 1} <= set(values)
    assert values != sorted(values)  # so that the first of them are of all kinds
    assert torch.equal(chosen, to_model(IMAGES.images[values]))


def test_without_unseen_images_none_are_chosen() -> None:
    assert protocol(4, None).chosen_unseen() is None
    assert protocol(4).seeds == range(100, 112)
