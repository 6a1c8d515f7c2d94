"""An ONNX file judges as its weights say, and what is none is refused in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from efface.errors import DataError
from efface.metrics.judge import classify, load_judge
from tests.metrics.own_classifiers import MEAN, STD, make_onnx, write_map

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own.onnx"


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 6, 5, generator=torch.manual_seed(1))


@pytest.mark.parametrize("batch", ["batch", 1])
def test_it_says_what_its_weights_say(path: Path, batch: object) -> None:
    inner, head = make_onnx(path, shape=(batch, 3, 6, 5))
    judge = load_judge(path)
    features, probabilities = classify(judge.classifier, images(5))
    prepared = (images(5).numpy() - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    expected = np.maximum(prepared.reshape(5, -1) @ inner, 0)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    logits = torch.from_numpy(expected @ head)
    np.testing.assert_allclose(probabilities, logits.softmax(1), atol=1e-4)
    assert judge.name == "own" and judge.names[3] == "kind 3"
    assert judge.reported()["held_out_accuracy"] is None


def test_without_an_output_of_features_these_are_the_logits(path: Path) -> None:
    make_onnx(path, features=None)
    import onnx

    model = onnx.load(path)
    del model.graph.output[0]
    onnx.save(model, path)
    features, probabilities = classify(load_judge(path).classifier, images(4))
    np.testing.assert_allclose(torch.from_numpy(features).softmax(1), probabilities, atol=1e-6)


def test_the_digest_is_of_weights_and_label_map(path: Path) -> None:
    make_onnx(path)
    digests = [load_judge(path).digest]
    write_map(path, 4, mean=[0.1, 0.2, 0.3])
    digests.append(load_judge(path).digest)
    path.write_bytes(path.read_bytes().replace(b"classifier", b"Classifier"))
    digests.append(load_judge(path).digest)
    assert len(set(digests)) == 3
    with pytest.raises(DataError, match="has the checksum"):
        load_judge(f"{path}@sha256:{digests[0]}")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: p.with_suffix(".json").unlink(), "there is no .*own.json: give an ONNX file"),
        (lambda p: p.write_bytes(b"garbage"), "cannot be run .*: export it"),
        (lambda p: p.unlink(), "there is no .*own.onnx: give an ONNX file"),
        (lambda p: write_map(p, 5), r"shape \(1, 4\) .* 5 labels: correct own.json"),
        (lambda p: write_map(p, 4, features="none"), "correct .*`features` in own.json"),
        (lambda p: write_map(p, 4, size=[7, 5]), r"image of shape \(3, 7, 5\) .* correct `size`"),
        (lambda p: write_map(p, 4, 1), r"image of shape \(1, 6, 5\) .*correct `size`, `mean`"),
        (lambda p: make_onnx(p, shape=(8, 3, 6, 5)), "whose batch is free or 1"),
        (lambda p: make_onnx(p, shape=("batch", 90)), "with one float input .batch, channels,"),
        (lambda p: write_map(p, 4, mean=[1e38] * 3, std=[1e-30] * 3), "no finite numbers"),
        (lambda p: make_onnx(p, softmax=True), "gives probabilities, not logits"),
        (lambda p: make_onnx(p, outside="own.onnx.data"), "has weights in other files"),
    ],
)
def test_what_cannot_judge_is_refused_in_a_sentence(
    path: Path, make: Callable[[Path], object], sentence: str
) -> None:
    make_onnx(path)
    make(path)
    with pytest.raises(DataError, match=sentence) as error:
        load_judge(path)
    assert "\n" not in str(error.value)


def test_without_onnxruntime_the_extra_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_onnx(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in [name for name in sys.modules if name.startswith("onnxruntime.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(DataError, match=r"pip install 'efface\[onnx\]'"):
        load_judge(path)
