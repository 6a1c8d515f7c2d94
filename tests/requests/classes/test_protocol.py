"""What is measured of forgotten labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep, draw_images
from efface.evaluation.protocol import observe_all
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store
from efface.evaluation.subjects import Subjects
from efface.evaluation.views import DetectorView
from efface.metrics.detector import load_classifier
from efface.requests.classes.protocol import ClassProtocol
from efface.settings.evaluate import EvaluateSettings
from tests.metrics.detectors import LABELS, MULTI, make_random


def test_a_detector_finds_the_concept_in_samples_of_forgotten_labels(
    tiny_unet: Callable[..., Denoiser], tiny_model: Path, tmp_path: Path
) -> None:
    """The share of samples whose score is above the threshold, sampled by hand."""
    network = load_classifier(make_random(tmp_path / "detector", MULTI, seed=4))
    view = DetectorView(detector=network, labels=("bag",), threshold=0.4)
    subject = Subject(denoiser=tiny_unet(), sampler=MultiStep(2), digest="tiny")
    subjects = Subjects(
        info=inspect_model(tiny_model),
        device=subject.denoiser.device,
        result=subject,
        original=subject,
    )
    config = EvaluateSettings(forget_samples=10, retain_samples=10, batch_size=4)
    protocol = ClassProtocol(views={"detector": view}, config=config, forget=(3, 5), retain=(1,))
    seen = observe_all(subjects, protocol, Store(None))
    (rate,) = protocol.report(seen, subjects).results
    condition = subject.denoiser.encode([3, 5] * 5)
    images = draw_images(subject.denoiser, MultiStep(2), condition, range(1000, 1010))
    found = network.probabilities(images)[:, LABELS.index("bag")] > 0.4
    assert (rate.metric, rate.value) == ("concept_rate", np.mean(found))
