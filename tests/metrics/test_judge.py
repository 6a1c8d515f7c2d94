"""The judge: what is saved is what is loaded, and how it is made."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from efface.data.images import ImageSet, load_images
from efface.errors import DataError
from efface.metrics.judge import Judge, JudgeConfig, ResidualClassifier, load_judge, train_judge

QUICK = JudgeConfig(widths=(4, 8), epochs=1, batch_size=32, reference_images=20)


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet]:
    """Some of the digits, to be quick."""
    train, test = load_images("digits", "train"), load_images("digits", "test")
    return train.select(torch.arange(200)), test.select(torch.arange(100))


@pytest.fixture(scope="module")
def judge(digits) -> Judge:
    return train_judge("quick judge", *digits, QUICK)


@pytest.fixture
def folder(judge, tmp_path) -> Path:
    judge.save(tmp_path / "judge")
    return tmp_path / "judge"


def as_floats(images: ImageSet) -> torch.Tensor:
    return images.images.float() / 255


def test_a_saved_judge_sees_the_same(judge, folder, digits):
    loaded = load_judge(folder)
    asked = np.arange(100) % 10
    before, after = (j.observe(as_floats(digits[1]), asked) for j in (judge, loaded))
    for name in ("asked", "probabilities", "features"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_array_equal(loaded.reference, judge.reference)
    np.testing.assert_array_equal(loaded.reference_labels, judge.reference_labels)
    assert (loaded.name, loaded.config) == ("quick judge", judge.config)
    content = (folder / "model.safetensors").read_bytes()
    assert loaded.digest == hashlib.sha256(content).hexdigest()


def test_batches_do_not_change_what_is_seen(judge, digits):
    asked = np.zeros(100, dtype=np.int64)
    whole = judge.observe(as_floats(digits[1]), asked)
    cut = judge.observe(as_floats(digits[1]), asked, batch_size=7)
    np.testing.assert_allclose(cut.probabilities, whole.probabilities, atol=1e-6)
    np.testing.assert_allclose(whole.probabilities.sum(1), 1, atol=1e-6)
    assert whole.features.shape == (100, 8)


def test_held_out_accuracy_is_that_of_the_judge_as_saved(judge, digits):
    _, held_out = digits
    assert held_out.labels is not None
    observed = judge.observe(as_floats(held_out), held_out.labels.numpy())
    assert judge.config["held_out_accuracy"] == (observed.seen == observed.asked).mean()
    assert judge.config["held_out_images"] == 100
    assert not judge.classifier.training


def test_reference_features_are_those_of_training_images_spread_evenly(judge, digits):
    train, _ = digits
    rows = torch.linspace(0, 199, 20).long()
    assert train.labels is not None
    assert judge.reference_labels.tolist() == train.labels[rows].tolist()
    observed = judge.observe(as_floats(train)[rows], judge.reference_labels)
    np.testing.assert_allclose(judge.reference, observed.features, atol=1e-6)


def test_forgotten_labels_are_left_out_of_the_reference(judge):
    kept = judge.reference_without([0, 3])
    expected = judge.reference[(judge.reference_labels != 0) & (judge.reference_labels != 3)]
    np.testing.assert_array_equal(kept, expected)
    assert 0 < len(kept) < len(judge.reference)
    np.testing.assert_array_equal(judge.reference_without([]), judge.reference)


def test_a_seed_makes_one_judge(judge, digits):
    again = train_judge("again", *digits, QUICK)
    other = train_judge("other", *digits, replace(QUICK, seed=1))
    np.testing.assert_array_equal(again.reference, judge.reference)
    assert np.abs(other.reference - judge.reference).max() > 1e-3


def test_some_training_beats_chance_by_far():
    digits = load_images("digits", "train"), load_images("digits", "test")
    judge = train_judge("longer", *digits, replace(QUICK, widths=(8, 16), epochs=3))
    assert judge.config["held_out_accuracy"] > 0.6  # 0.1 is chance


def test_a_shift_moves_images_and_not_their_size(digits):
    train_judge("shifted", *digits, replace(QUICK, shift=3, horizontal_flip=True))
    train_judge("still", *digits, replace(QUICK, shift=0))


def test_features_and_logits_belong_together():
    torch.manual_seed(0)
    classifier = ResidualClassifier(3, (4, 8, 8), 5).eval()
    images = torch.rand(2, 3, 16, 16)
    assert classifier.features(images).shape == (2, 8)
    torch.testing.assert_close(classifier(images), classifier.head(classifier.features(images)))


def test_images_without_labels_are_refused(digits):
    train, held_out = digits
    for pair in ((replace(train, labels=None), held_out), (train, replace(held_out, labels=None))):
        with pytest.raises(DataError, match="a judge needs labelled images"):
            train_judge("x", *pair, QUICK)


def test_fewer_images_than_one_batch_are_refused(digits):
    train, held_out = digits
    with pytest.raises(DataError, match="20 training images are fewer than one batch of 32"):
        train_judge("x", train.select(torch.arange(20)), held_out, QUICK)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop(key: str):
    def apply(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        del config[key]
        path.write_text(json.dumps(config))

    return apply


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def swap_reference(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "reference.safetensors")


@pytest.mark.parametrize(
    "breakage",
    [
        pytest.param(lambda f: shutil.rmtree(f), id="no folder"),
        pytest.param(lambda f: (f / "config.json").write_text("{"), id="garbled config"),
        pytest.param(lambda f: (f / "config.json").write_text("[1]"), id="config is a list"),
        pytest.param(drop("widths"), id="no widths"),
        pytest.param(drop("name"), id="no name"),
        pytest.param(drop("held_out_accuracy"), id="no accuracy"),
        pytest.param(drop("held_out_images"), id="no count"),
        pytest.param(lambda f: edit(f, widths="wide"), id="garbled widths"),
        pytest.param(lambda f: edit(f, widths=[4, 9]), id="other widths"),
        pytest.param(lambda f: (f / "model.safetensors").unlink(), id="no weights"),
        pytest.param(truncate, id="truncated weights"),
        pytest.param(lambda f: (f / "reference.safetensors").unlink(), id="no reference"),
        pytest.param(swap_reference, id="another reference"),
    ],
)
def test_what_is_no_judge_is_named(folder, breakage):
    breakage(folder)
    with pytest.raises(DataError, match="judge is no judge .*make one with `efface judge`"):
        load_judge(folder)
