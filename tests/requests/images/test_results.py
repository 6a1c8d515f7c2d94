"""The figures of a request, from arrays whose answers are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from efface.data.images import ImageSet
from efface.data.split import Split, pixel_hash
from efface.metrics.intervals import proportion
from efface.requests.images.protocol import ImageProtocol
from efface.requests.images.results import Measured, image_results, image_rows
from efface.requests.images.settings import ImageSettings
from efface.settings.evaluate import EvaluateSettings

IMAGES = ImageSet(
    images=torch.arange(3, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2),
    labels=None,
    names=("a", "b", "c"),
)
PROTOCOL = ImageProtocol(
    views={},
    digests={},
    split=Split(forget=IMAGES.select(torch.arange(2))),
    unseen=IMAGES,
    config=EvaluateSettings(seed=0),
    own=ImageSettings(samples=20, draws=2),
)


def seen(level: float, copies: int) -> Measured:
    """Two images of equal losses below those of unseen images, which are 1 on average."""
    return Measured(
        observed={},
        copies=proportion(copies, 20),
        copies_by_image=np.array([copies, 0]),
        timesteps=[100, 500],
        losses=np.full((2, 2), level),
        unseen_losses=np.array([[0.5, 0.5], [1.5, 1.5], [1.0, 1.0]]),
        similarity=np.array([0.75, 0.25]),
        unseen_similarity=np.array([0.25, 0.25]),
        bits=np.array([2.0, 4.0]),
        unseen_bits=np.array([5.0]),
    )


@pytest.fixture
def models() -> dict[str, Measured]:
    return {"result": seen(0.75, 1), "baseline": seen(0.25, 12)}


def test_every_figure_is_that_of_its_arrays(models: dict[str, Measured]) -> None:
    found = {r.metric: r for r in image_results(models, PROTOCOL, 1.5, "4 DDIM steps")}
    values = {name: (r.value, r.baseline.value) for name, r in found.items()}
    assert values["copy_rate"] == pytest.approx((1 / 20, 12 / 20))
    assert values["membership_gap"] == pytest.approx((0.25, 0.75))
    assert values["forgotten_loss"] == pytest.approx((0.75, 0.25))
    assert values["copy_similarity"] == pytest.approx((0.5, 0.5))
    assert values["normalised_similarity"] == pytest.approx((2.0, 2.0))
    assert values["nll"] == pytest.approx((3.0, 3.0))
    unseen = found["forgotten_loss"].unseen
    assert unseen is not None and unseen.value == pytest.approx(1.0)


def test_without_unseen_images_nothing_is_compared_with_them(models: dict[str, Measured]) -> None:
    none = {"unseen_losses": None, "unseen_similarity": None, "unseen_bits": None}
    alone = {name: dataclasses.replace(model, **none) for name, model in models.items()}
    found = {r.metric: r for r in image_results(alone, PROTOCOL, 1.5, "4 DDIM steps")}
    assert set(found) == {"copy_rate", "forgotten_loss", "copy_similarity", "nll"}
    assert all(result.unseen is None for result in found.values())


def test_an_image_has_a_row_of_its_own(models: dict[str, Measured]) -> None:
    first, second = image_rows(models, PROTOCOL.split)
    assert (first.name, first.sha256) == ("a", pixel_hash(IMAGES.images[0]))
    assert (first.copies, first.copies_baseline, second.copies) == (1, 12, 0)
    assert (first.loss, first.loss_baseline) == (0.75, 0.25)
    assert (first.similarity, second.similarity) == (0.75, 0.25)
