"""What is measured again is what was recorded, and a pack cannot ask for more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import efface
from efface.data.split import pixel_hash
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import DataError, RequestError
from efface.evidence.remeasure import remeasure
from efface.records import read_evaluation, read_record


@pytest.mark.parametrize(
    "metric", ["retained_accuracy", "fid", "recall", "forgotten_probability", "unlearning_accuracy"]
)
def test_what_is_measured_again_of_labels_is_the_recorded_value(label_run, metric):
    record, evaluation = read_record(label_run), read_evaluation(label_run)
    result = evaluation.get(metric)
    assert result is not None
    again = remeasure(record, evaluation, result, inspect_model(label_run))
    assert again.value == pytest.approx(result.value, rel=1e-6)


@pytest.mark.parametrize("metric", ["copy_rate", "inception_score"])
def test_what_is_measured_again_of_pictures_is_the_recorded_value(picture_run, metric):
    record, evaluation = read_record(picture_run), read_evaluation(picture_run)
    result = evaluation.get(metric)
    assert result is not None
    again = remeasure(record, evaluation, result, inspect_model(picture_run))
    assert again.value == pytest.approx(result.value, rel=1e-6)


def test_copies_of_pictures_are_counted_anew(picture_run, tmp_path):
    """The pictures are two of the samples themselves; distances and copies are counted here."""
    record, evaluation = read_record(picture_run), read_evaluation(picture_run)
    result = evaluation.get("copy_rate")
    assert result is not None
    (first, last), steps = result.seeds, record.settings["evaluate"]["baseline_steps"]
    model, seeds = efface.load(picture_run), range(first, last + 1)
    samples = draw_images(model, MultiStep(steps), None, seeds).numpy()
    chosen = np.round(samples[[4, 9], 0] * 255).astype(np.uint8)
    for i, pixels in enumerate(chosen):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    digits = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    _, held_out = train_test_split(
        np.arange(1797), test_size=450, random_state=0, stratify=load_digits().target
    )

    def distances(images: np.ndarray) -> np.ndarray:
        between = images[:, None].astype(np.float64) - chosen[None] / 255
        return np.sqrt((between**2).sum((2, 3)))

    near = distances(digits[held_out] / 255).min() / 2
    copies = int((distances(samples[:, 0]).min(1) < near).sum())
    assert copies >= 2
    hashes = [pixel_hash(torch.from_numpy(pixels)[None]) for pixels in chosen]
    request = record.request | {
        "images": str(tmp_path), "unseen": "digits", "names": ["0.png", "1.png"], "hashes": hashes,
    }  # fmt: skip
    told = record.model_copy(update={"request": request})
    again = remeasure(told, evaluation, result, inspect_model(picture_run))
    assert again.value == copies / len(samples)
    lost = record.model_copy(update={"request": request | {"hashes": hashes[::-1]}})
    with pytest.raises(RequestError, match="does not hold the pictures of this run"):
        remeasure(lost, evaluation, result, inspect_model(picture_run))


def test_hostile_protocols_are_refused_before_anything_is_drawn(label_run):
    record, evaluation = read_record(label_run), read_evaluation(label_run)
    result, info = evaluation.results[0], inspect_model(label_run)
    for update in ({"seeds": [0, 10**12 - 1], "samples": 10**12}, {"seeds": []}, {"samples": 0},
                   {"seeds": [5, 1]}):  # fmt: skip
        with pytest.raises(DataError, match="one seed per sample"):
            remeasure(record, evaluation, result.model_copy(update=update), info)
    with pytest.raises(RequestError, match="the settings of its run"):
        other = result.model_copy(update={"protocol": "50 steps"})
        remeasure(record, evaluation, other, info)
    for request in ({"kind": "class", "labels": [99]}, {"kind": "class", "labels": []}):
        with pytest.raises(RequestError):
            wrong = record.model_copy(update={"request": request})
            remeasure(wrong, evaluation, result, info)
    with pytest.raises(DataError, match="does not know"):
        wrong = record.model_copy(update={"request": {"kind": "magic"}})
        remeasure(wrong, evaluation, result, info)
