"""Networks of composed scenes: what they learn, and what is said before they are trained."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
import transformers

from efface.data.images import to_model
from efface.errors import ConfigError
from efface.zoo.build.scene_networks import train_autoencoder, train_detector
from efface.zoo.build.scenes import training_scenes
from efface.zoo.build.settings import read_build_settings


def test_latents_of_a_trained_autoencoder_vary_by_one(work, recipe, autoencoder_error):
    assert 0 < autoencoder_error < 1
    vae: Any = diffusers.AutoencoderKL.from_pretrained(work / "vae")
    x = to_model(training_scenes(read_build_settings(recipe)).images)
    with torch.no_grad():
        latents = vae.encode(x).latent_dist.mean * vae.config.scaling_factor
    assert float(latents.std()) == pytest.approx(1, rel=1e-3)


def test_a_detector_learns_what_scenes_show_and_is_read_by_transformers(work, recipe):
    detected = train_detector(recipe, work / "detector")
    assert detected.accuracy > 0.9  # always answering alike is right in about two thirds
    network = transformers.AutoModelForImageClassification.from_pretrained(work / "detector")
    assert network.config.problem_type == "multi_label_classification"
    assert network.config.id2label == {0: "bag", 1: "coat"}
    assert network.config.held_out_accuracy == detected.accuracy


@pytest.mark.parametrize(
    ("make", "changes", "sentence"),
    [
        (train_autoencoder, ["scenes.images=0"], "composes no scenes.*scenes.images"),
        (train_autoencoder, ["scenes.images=7"], r"scenes.images is 7.*autoencoder.batch_size"),
        (train_detector, ["scenes.images=7"], r"scenes.images is 7.*detector.batch_size"),
        (train_detector, ["data.held_out=none"], r"set data.held_out"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_trained(
    make, changes, sentence, recipe, tmp_path
):
    with pytest.raises(ConfigError, match=sentence):
        make(recipe, tmp_path / "out", changes)
    assert not (tmp_path / "out").exists()
