"""A folder of transformers judges as its own pipeline does; what is no classifier is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from efface.errors import DataError
from efface.metrics.judge import Judge, classify, load_judge
from tests.metrics.detectors import MULTI, make_brightness, make_random
from tests.metrics.own_classifiers import NAMES, make_vit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_vit(tmp_path_factory.mktemp("own") / "vit")


@pytest.fixture(scope="module")
def judge(folder: Path) -> Judge:
    return load_judge(folder)


def images(count: int, size: int = 16, channels: int = 3) -> Tensor:
    levels = torch.randint(256, (count, channels, size, size), generator=torch.manual_seed(2))
    return levels.float() / 255


def to_pil(batch: Tensor) -> list[Image.Image]:
    levels = batch.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(image.squeeze()).convert("RGB") for image in levels]


@pytest.mark.parametrize(("size", "channels"), [(16, 3), (16, 1), (8, 3)])
def test_predictions_are_those_of_the_pipeline_of_transformers(
    judge: Judge, folder: Path, size: int, channels: int
) -> None:
    batch = images(6, size, channels)
    _, found = classify(judge.classifier, batch)
    pipe = transformers.pipeline(
        "image-classification",
        model=str(folder),
        image_processor=transformers.AutoImageProcessor.from_pretrained(folder, backend="pil"),
    )
    for row, answer in zip(found, pipe(to_pil(batch), top_k=10), strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        np.testing.assert_allclose(row, [scores[name] for name in NAMES], atol=1e-4)
    assert found.std(0).max() > 1e-2  # the images do not all look alike


@pytest.mark.parametrize("make", [make_vit, lambda path: make_brightness(path, None)])
def test_features_are_what_the_head_is_given(make: Callable[[Path], Path], tmp_path: Path) -> None:
    judge = load_judge(make(tmp_path / "own"))
    features, probabilities = classify(judge.classifier, images(5))
    head = next(
        layer
        for layer in judge.classifier.network.network.modules()  # pyright: ignore
        if isinstance(layer, torch.nn.Linear) and layer.out_features == probabilities.shape[1]
    )
    with torch.inference_mode():
        logits = head(torch.from_numpy(features))
    np.testing.assert_allclose(logits.softmax(1), probabilities, atol=1e-5)
    assert not any(head._forward_pre_hooks.values())


def test_a_foreign_judge_knows_names_and_no_accuracy(judge: Judge, folder: Path) -> None:
    assert judge.names == dict(enumerate(NAMES)) and len(judge.labels) == 10
    said = judge.reported()
    assert (said["name"], said["sha256"]) == ("vit", judge.digest)
    assert said["held_out_accuracy"] is said["held_out_interval"] is said["held_out_images"] is None
    assert said["reference_sha256"] is None and len(judge.reference_without([0])) == 0
    assert load_judge(f"{folder}@sha256:{judge.digest}").digest == judge.digest
    with pytest.raises(DataError, match="has the checksum"):
        load_judge(f"{folder}@sha256:{'0' * 64}")


def test_labels_that_are_but_numbers_are_no_names(tmp_path: Path) -> None:
    numbered = make_vit(tmp_path / "own", tuple(f"LABEL_{i}" for i in range(10)))
    assert load_judge(numbered).names == {}


def test_a_network_of_one_channel_sees_averages(tmp_path: Path) -> None:
    judge = load_judge(make_vit(tmp_path / "own", channels=1))
    colour = images(4, channels=3)
    levels = colour.mul(255).mean(1, keepdim=True).round() / 255
    for grey, same in ((levels, colour), (levels, levels.expand(-1, 3, -1, -1))):
        for one, other in zip(
            classify(judge.classifier, grey), classify(judge.classifier, same), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_batches_and_devices_change_nothing(judge: Judge) -> None:
    whole = judge.observe(images(7), np.zeros(7))
    cut = judge.to("cpu").observe(images(7), np.zeros(7), batch_size=3)
    np.testing.assert_allclose(cut.features, whole.features, atol=1e-5)
    np.testing.assert_allclose(cut.probabilities, whole.probabilities, atol=1e-6)


def changed(**changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def to_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def one_label_more(folder: Path) -> None:
    changed(id2label={str(i): str(i) for i in range(11)})(folder)


def not_finite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("breakage", "sentence"),
    [
        (
            lambda f: (f / "preprocessor_config.json").unlink(),
            "has no preprocessor_config.json: give",
        ),
        (to_pickle, "no safetensors weights.*pickles are not read"),
        (changed(auto_map={"AutoConfig": "code.Config"}), "code of its own .*never run"),
        (changed(architectures=["ViTModel"]), "holds ViTModel, no ForImageClassification: give"),
        (changed(architectures=None), "holds None"),
        (changed(problem_type=MULTI), "a probability of its own.*chooses one label"),
        (changed(problem_type="regression"), "no readable .* image classifier"),
        (one_label_more, "no readable .* image classifier"),
        (not_finite, "no readable .* image classifier"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "no readable .* image classifier"),
    ],
)
def test_what_cannot_judge_is_refused_in_a_sentence(
    folder: Path, tmp_path: Path, breakage: Callable[[Path], None], sentence: str
) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    breakage(own)
    with pytest.raises(DataError, match=sentence) as error:
        load_judge(own)
    assert "\n" not in str(error.value) and str(own) in str(error.value)


def test_a_multi_label_classifier_is_refused_and_a_detector_still(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a probability of its own"):
        load_judge(make_random(tmp_path / "many", MULTI))
