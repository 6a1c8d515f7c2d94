"""The judge: what is saved is what is loaded."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from efface.data.images import ImageSet, load_images
from efface.errors import DataError
from efface.metrics.judge import Judge, ResidualClassifier, load_judge
from efface.zoo.build.classifier import fit_classifier
from efface.zoo.build.settings import ClassifierSettings

QUICK = ClassifierSettings(widths=(4, 8), epochs=1, batch_size=32, reference_images=20)


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet]:
    """Some of the digits, to be quick."""
    train, test = load_images("digits", "train"), load_images("digits", "test")
    return train.select(torch.arange(200)), test.select(torch.arange(100))


@pytest.fixture(scope="module")
def judge(digits) -> Judge:
    return fit_classifier("quick judge", *digits, QUICK)


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


def test_forgotten_labels_are_left_out_of_the_reference(judge):
    kept = judge.reference_without([0, 3])
    expected = judge.reference[(judge.reference_labels != 0) & (judge.reference_labels != 3)]
    np.testing.assert_array_equal(kept, expected)
    assert 0 < len(kept) < len(judge.reference)
    np.testing.assert_array_equal(judge.reference_without([]), judge.reference)


def test_features_and_logits_belong_together():
    torch.manual_seed(0)
    classifier = ResidualClassifier(3, (4, 8, 8), 5).eval()
    images = torch.rand(2, 3, 16, 16)
    features, logits = classifier.look(images)
    assert features.shape == (2, 8)
    torch.testing.assert_close(logits, classifier.head(features))
    torch.testing.assert_close(logits, classifier(images))


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


@pytest.mark.parametrize("name", ["model", "reference"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_judge_that_is_no_numbers_is_named(folder, name, value):
    path = folder / f"{name}.safetensors"
    tensors = load_file(path)
    broken = next(key for key, tensor in tensors.items() if tensor.is_floating_point())
    tensors[broken].view(-1)[0] = value
    save_file(tensors, path)
    with pytest.raises(DataError, match=f"judge is broken: {broken} of its classifier is"):
        load_judge(folder)


@pytest.mark.parametrize(
    "breakage",
    [
        pytest.param(lambda f: shutil.rmtree(f), id="no folder"),
        pytest.param(lambda f: (f / "config.json").write_text("{"), id="garbled config"),
        pytest.param(lambda f: (f / "config.json").write_text("[1]"), id="config is a list"),
        pytest.param(drop("widths"), id="no widths"),
        pytest.param(drop("name"), id="no name"),
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
    with pytest.raises(DataError, match="is no readable .*classifier: give a folder of"):
        load_judge(folder)
