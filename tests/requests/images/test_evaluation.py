"""What counts as a copy, and which samples are looked at; test_runs.py measures whole runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from efface.data.images import load_images
from efface.data.split import Split, copy_distance, distances, split_images
from efface.diffusion.sampling import MultiStep
from efface.evaluation.sample_sets import SampleSet, Subject
from efface.evaluation.store import Store
from efface.requests.images.evaluation import Sampled, find_copy_distance


def test_a_copy_is_nearer_than_any_retained_image_could_be_to_two() -> None:
    digits = load_images("digits", "test")
    split = split_images(digits.select(torch.arange(2)), digits.select(torch.arange(2, 40)))
    assert split.retain is not None
    nearest = float(distances(split.retain.images, split.forget.images).min())

    def original() -> torch.Tensor:
        raise AssertionError("samples are not needed where images are given")

    assert find_copy_distance(split, original) == pytest.approx(nearest / 2)


def test_without_retained_images_samples_of_the_original_model_say_so() -> None:
    between = torch.tensor([[4.0, 9.0], [5.0, 7.0], [6.0, 8.0]])
    alone = Split(forget=load_images("digits", "test").select(torch.arange(2)))
    assert find_copy_distance(alone, lambda: between) == copy_distance(between)


def test_samples_that_were_not_kept_are_the_same_when_drawn_again(
    tiny_unet, tmp_path: Path
) -> None:
    subject = Subject(denoiser=tiny_unet(conditional=False), sampler=MultiStep(2), digest="model")
    samples, store = SampleSet(subject=subject, seeds=range(6)), Store(tmp_path)
    again = Sampled(samples=samples, distances=np.zeros((6, 1)), observed={}, pixels=None)
    drawn = again.images([4, 1], store)
    pixels = (again.images(range(6), store) * 255).round().byte().numpy()
    kept = Sampled(samples=samples, distances=np.zeros((6, 1)), observed={}, pixels=pixels)
    assert torch.equal(kept.images([4, 1], store), drawn)
