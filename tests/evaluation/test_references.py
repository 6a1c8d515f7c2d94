"""What stands for real images where none are given, and the guidance that is chosen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from efface.data.images import ImageSet, load_images
from efface.diffusion.sampling import MultiStep, draw_images
from efface.evaluation import references
from efface.evaluation.networks import extractor_view
from efface.evaluation.references import (
    SEED,
    SELECTION_SAMPLES,
    SELECTION_SEED,
    Retained,
    best_guidance,
    with_own_reference,
)
from efface.evaluation.store import Store
from efface.evaluation.subjects import Subjects
from efface.evaluation.views import ExtractorView
from efface.metrics.extractors import InceptionExtractor
from efface.metrics.fd import frechet_distance
from efface.metrics.pixel_components import fit_components
from efface.settings.evaluate import EvaluateSettings

CONFIG = EvaluateSettings(baseline_steps=2, retain_samples=20)
RETAINED = Retained(asked=(1, 2, 3), count=20)


def view_of(images: ImageSet) -> ExtractorView:
    return extractor_view(fit_components(images.images), images, Store(None))


def test_without_real_images_samples_of_the_original_model_stand_for_them(
    subjects: Subjects,
) -> None:
    views = with_own_reference({}, subjects, RETAINED, CONFIG, Store(None))
    view = views["extractor"]
    assert isinstance(view, ExtractorView) and view.of_original and view.labels is not None
    assert view.labels.tolist() == [1 + i % 3 for i in range(20)]
    original = subjects.original
    condition = original.denoiser.encode(view.labels.tolist())
    drawn = draw_images(original.denoiser, original.sampler, condition, range(SEED, SEED + 20))
    drawn = drawn.mul(255).round().byte()
    expected = view_of(ImageSet(images=drawn, labels=None, names=()))
    assert np.array_equal(view.real, expected.real)
    for metric in view.metrics(labelled=True):
        assert metric.spec.likeness and metric.spec.label.endswith(", against the original)")


def test_real_images_are_never_replaced(subjects: Subjects) -> None:
    views = {"extractor": view_of(load_images("digits", "test"))}
    assert with_own_reference(views, subjects, RETAINED, CONFIG, Store(None)) is views


def test_the_best_guidance_is_nearest_to_real_images_of_retained_labels(
    subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of real images that the model draws at one of the values, from other seeds, that one is."""
    values = (1.0, 5.0, 25.0)  # far apart: a random network hardly minds its label
    monkeypatch.setattr(references, "GUIDANCES", values)
    denoiser = subjects.original.denoiser
    labels = [1 + i % 3 for i in range(120)]
    for guidance in values:
        sampler = MultiStep(2, guidance=guidance)
        drawn = draw_images(denoiser, sampler, denoiser.encode(labels), range(120))
        real = drawn.mul(255).round().byte()
        others = 255 - real  # of a forgotten label, which must not count
        images = ImageSet(
            images=torch.cat([real, others]), labels=torch.tensor([*labels, *[0] * 120]), names=()
        )
        view = view_of(images)
        chosen = best_guidance(subjects, {"extractor": view}, RETAINED, CONFIG, Store(None))
        asked = np.array([1 + i % 3 for i in range(SELECTION_SAMPLES)])
        apart = {
            value: frechet_distance(_selection(subjects, view, value), view.real[:120], asked).value
            for value in values
        }
        assert chosen == min(apart, key=apart.__getitem__) == guidance


def _selection(subjects: Subjects, view: ExtractorView, guidance: float) -> np.ndarray:
    denoiser = subjects.original.denoiser
    asked = [1 + i % 3 for i in range(SELECTION_SAMPLES)]
    seeds = range(SELECTION_SEED, SELECTION_SEED + SELECTION_SAMPLES)
    sampler = MultiStep(2, guidance=guidance)
    return view(draw_images(denoiser, sampler, denoiser.encode(asked), seeds))["features"]


def test_guidance_is_not_chosen_without_real_images(subjects: Subjects) -> None:
    assert best_guidance(subjects, {}, RETAINED, CONFIG, Store(None)) == 1.0


def test_all_models_with_many_steps_share_the_guidance(subjects: Subjects) -> None:
    moved = subjects.at_guidance(1.3)
    assert moved.retrained is not None
    assert moved.original.sampler == moved.retrained.sampler == MultiStep(2, guidance=1.3)
    assert moved.result.sampler == subjects.result.sampler


def test_inception_too_tells_only_likeness_against_the_original_model() -> None:
    network = InceptionExtractor(name="inception", sha256="00", network=torch.nn.Identity())
    nothing = np.zeros((3, 2))
    view = ExtractorView(network=network, real=nothing, real_spatial=nothing, labels=None)
    fid = view.metrics(labelled=True)[0].spec
    assert (fid.name, fid.label, fid.likeness) == ("fid", "FID", False)
    fid = dataclasses.replace(view, of_original=True).metrics(labelled=True)[0].spec
    assert (fid.name, fid.label) == ("fid", "FID (against the original)") and fid.likeness
