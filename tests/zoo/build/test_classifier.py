"""The classifier of a recipe: how it is trained, measured and kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import efface
from efface.data.images import ImageSet, load_images
from efface.errors import ConfigError, DataError, RequestError
from efface.metrics.judge import Judge, load_judge
from efface.zoo.build.classifier import fit_classifier, train_classifier
from efface.zoo.build.settings import ClassifierSettings

QUICK = ClassifierSettings(widths=(4, 8), epochs=1, batch_size=32, reference_images=20)


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet]:
    """Some of the digits, to be quick."""
    train, test = load_images("digits", "train"), load_images("digits", "test")
    return train.select(torch.arange(200)), test.select(torch.arange(100))


@pytest.fixture(scope="module")
def judge(digits) -> Judge:
    return fit_classifier("quick", *digits, QUICK)


def as_floats(images: ImageSet) -> torch.Tensor:
    return images.images.float() / 255


def test_held_out_accuracy_is_that_of_the_classifier_as_saved(judge, digits):
    _, held_out = digits
    assert held_out.labels is not None
    observed = judge.observe(as_floats(held_out), held_out.labels.numpy())
    correct = observed.probabilities.argmax(1) == held_out.labels.numpy()
    assert judge.config["held_out_accuracy"] == correct.mean()
    assert judge.config["held_out_images"] == 100
    exact = binomtest(int(correct.sum()), 100).proportion_ci(0.95, "exact")
    assert judge.config["held_out_interval"] == pytest.approx([exact.low, exact.high], abs=1e-6)
    assert not judge.classifier.training


def test_reference_features_are_those_of_training_images_spread_evenly(judge, digits):
    train, _ = digits
    rows = torch.linspace(0, 199, 20).long()
    assert train.labels is not None
    assert judge.reference_labels.tolist() == train.labels[rows].tolist()
    observed = judge.observe(as_floats(train)[rows], judge.reference_labels)
    np.testing.assert_allclose(judge.reference, observed.features, atol=1e-6)


def test_a_seed_makes_one_classifier_whatever_the_callers_random_numbers(judge, digits):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    again = fit_classifier("again", *digits, QUICK)
    assert torch.equal(torch.rand(2), expected)
    other = fit_classifier("other", *digits, QUICK.model_copy(update={"seed": 1}))
    np.testing.assert_array_equal(again.reference, judge.reference)
    assert np.abs(other.reference - judge.reference).max() > 1e-3


def test_some_training_beats_chance_by_far():
    digits = load_images("digits", "train"), load_images("digits", "test")
    longer = QUICK.model_copy(update={"widths": (8, 16), "epochs": 3})
    judge = fit_classifier("longer", *digits, longer)
    assert judge.config["held_out_accuracy"] > 0.6  # 0.1 is chance


def test_a_shift_moves_images_and_not_their_size(digits):
    shifted = {"shift": 3, "horizontal_flip": True}
    fit_classifier("shifted", *digits, QUICK.model_copy(update=shifted))
    fit_classifier("still", *digits, QUICK.model_copy(update={"shift": 0}))


def test_images_without_labels_are_refused(digits):
    train, held_out = digits
    for pair in ((replace(train, labels=None), held_out), (train, replace(held_out, labels=None))):
        with pytest.raises(DataError, match="needs labelled images"):
            fit_classifier("x", *pair, QUICK)


def test_fewer_images_than_one_batch_are_refused(digits):
    train, held_out = digits
    with pytest.raises(DataError, match="20 training images.* 32.*judge.batch_size"):
        fit_classifier("x", train.select(torch.arange(20)), held_out, QUICK)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (tuple("abcdefghij"), dict(zip("0123456789", "abcdefghij", strict=True))),
        (tuple("abcdefghijk"), dict(zip([*"0123456789", "10"], "abcdefghijk", strict=True))),
        (tuple("0123456789"), {}),
        ((), {}),
    ],
)
def test_names_of_labels_go_along(digits, names, kept, tmp_path):
    train, held_out = (replace(images, label_names=names) for images in digits)
    fit_classifier("named", train, held_out, QUICK).save(tmp_path / "judge")
    loaded = load_judge(tmp_path / "judge")
    assert loaded.config["id2label"] == kept
    assert loaded.names == {int(label): name for label, name in kept.items()}
    assert len(loaded.labels) == max(len(names), 10)


def test_held_out_images_of_other_labels_are_refused(digits):
    train, held_out = digits
    others = replace(held_out, label_names=tuple("123456789"))
    with pytest.raises(DataError, match="have the labels 0, 1.* held-out images 1, 2.*both the"):
        fit_classifier("x", train, others, QUICK)


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text("[judge]\nepochs = 2\nwidths = [8, 16]\n")
    return path


def test_a_classifier_states_its_held_out_accuracy(recipe, tmp_path):
    judge = train_classifier(recipe, tmp_path / "judge")
    config = json.loads((tmp_path / "judge" / "config.json").read_text())
    assert config["held_out_images"] == 450
    assert 0.3 < config["held_out_accuracy"] <= 1
    assert load_judge(tmp_path / "judge").name == judge.name == "small classifier"
    with pytest.raises(RequestError, match="nothing there was touched"):
        train_classifier(recipe, tmp_path / "judge")


def test_what_is_missing_or_absurd_is_said_before_anything_is_read(recipe, tmp_path):
    elsewhere = "data.source='nothing/here'"
    with pytest.raises(ConfigError, match="set data.held_out"):
        train_classifier(recipe, tmp_path / "judge", [elsewhere])
    with pytest.raises(ConfigError, match="judge.batch_size is 1"):
        train_classifier(recipe, tmp_path / "judge", [elsewhere, "judge.batch_size=1"])
    assert not (tmp_path / "judge").exists()


def test_the_shipped_classifier_and_model_are_small_and_good():
    """Accuracy is recomputed from the weights, on digits that neither was trained on."""
    folder = Path(efface.__file__).parent / "zoo" / "digits"
    judge = load_judge(folder / "judge")
    digits = load_images("digits", "test")
    assert digits.labels is not None
    observed = judge.observe(as_floats(digits), digits.labels.numpy())
    accuracy = float((observed.probabilities.argmax(1) == digits.labels.numpy()).mean())
    assert accuracy == pytest.approx(judge.config["held_out_accuracy"], abs=1e-9)
    assert accuracy > 0.98
    assert all(p.stat().st_size < 2_000_000 for p in folder.rglob("*") if p.is_file())
