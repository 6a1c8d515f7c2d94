"""What a model makes of images is computed once, and is what the metrics say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from efface.data.images import load_images, to_model
from efface.diffusion.sampling import MultiStep
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Arrays, Store
from efface.metrics.membership_gap import denoising_losses, loss_timesteps
from efface.requests.images.probe import Probe
from efface.requests.images.settings import ImageSettings
from tests.counting import counting_passes

IMAGES = to_model(load_images("digits", "test").images[:3])


@pytest.fixture
def probe(tiny_unet, tmp_path: Path) -> Probe:
    own = ImageSettings(draws=2, likelihood_steps=3)
    subject = Subject(denoiser=tiny_unet(conditional=False), sampler=MultiStep(2), digest="model")
    return Probe(subject=subject, own=own, seed=5, store=Store(tmp_path))


def test_losses_are_those_of_the_metric(probe: Probe) -> None:
    found = probe.losses(IMAGES)["losses"]
    denoiser = probe.subject.denoiser
    at = loss_timesteps(denoiser.schedule.num_timesteps)
    assert found.shape == (3, 10)
    assert_allclose(found, denoising_losses(denoiser, IMAGES, at, 2, 5), rtol=1e-6)


def test_images_come_back_as_pixels_with_a_similarity_each(probe: Probe) -> None:
    back = probe.put_back(IMAGES)
    similarity = back["similarities"]
    assert similarity.shape == (3,) and np.all(np.abs(similarity) <= 1)
    assert (back["first"].shape, back["first"].dtype) == (tuple(IMAGES.shape), np.uint8)


def test_what_was_measured_is_not_computed_again(probe: Probe) -> None:
    def measure() -> Arrays:
        one = IMAGES[:1]
        return probe.losses(one) | probe.put_back(one) | probe.bits(one)

    first = measure()
    with counting_passes() as passes:
        second = measure()
    assert passes == []
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert_allclose(values, second[name], rtol=0, atol=0)
    with counting_passes() as passes:
        probe.losses(IMAGES[1:2])
    assert passes
