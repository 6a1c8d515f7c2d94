"""What is measured again is what was recorded, and a pack cannot ask for more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import efface
from efface.data.images import load_images
from efface.data.split import pixel_hash
from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import DataError, RequestError
from efface.evidence.recorded import Claim, Given
from efface.evidence.remeasure import remeasure
from efface.metrics.intervals import Estimate
from efface.metrics.membership_gap import denoising_losses, loss_timesteps, membership_gap
from efface.records import Evaluation, Result, RunRecord, read_evaluation, read_record
from tests.metrics.detectors import MULTI, make_random


def again_of(
    record: RunRecord, evaluation: Evaluation, result: Result, info: ModelInfo
) -> Estimate:
    claim = Claim(result=result, record=record, evaluation=evaluation, info=info, given=Given())
    return remeasure(claim)


@pytest.mark.parametrize(
    "metric",
    ["retained_accuracy", "fid", "recall", "forgotten_probability", "unlearning_accuracy",
     "label_agreement"],
)  # fmt: skip
def test_what_is_measured_again_of_labels_is_the_recorded_value(label_run, metric):
    record, evaluation = read_record(label_run), read_evaluation(label_run)
    result = evaluation.get(metric)
    assert result is not None
    again = again_of(record, evaluation, result, inspect_model(label_run))
    assert again.value == pytest.approx(result.value, rel=1e-6)


@pytest.mark.parametrize(
    "metric", ["copy_rate", "inception_score", "nll", "forgotten_loss", "copy_similarity"]
)
def test_what_is_measured_again_of_pictures_is_the_recorded_value(picture_run, metric):
    record, evaluation = read_record(picture_run), read_evaluation(picture_run)
    result = evaluation.get(metric)
    assert result is not None
    again = again_of(record, evaluation, result, inspect_model(picture_run))
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
    again = again_of(told, evaluation, result, inspect_model(picture_run))
    assert again.value == copies / len(samples)
    lost = record.model_copy(update={"request": request | {"hashes": hashes[::-1]}})
    with pytest.raises(RequestError, match="does not hold the pictures of this run"):
        again_of(lost, evaluation, result, inspect_model(picture_run))


def test_figures_beside_unseen_pictures_are_those_of_the_losses(picture_run):
    record, evaluation = read_record(picture_run), read_evaluation(picture_run)
    config, model = record.settings["evaluate"], efface.load(picture_run)
    told = record.model_copy(update={"request": record.request | {"unseen": "digits"}})
    known = evaluation.get("forgotten_loss")
    assert known is not None
    digits = load_images("digits", "test").images
    rows = torch.linspace(0, len(digits) - 1, config["unseen"]).long()
    forget = load_images(record.request["images"]).images
    at = loss_timesteps(model.schedule.num_timesteps)
    own, unseen = (
        denoising_losses(model, images.float() / 127.5 - 1, at, config["draws"], config["seed"])
        for images in (forget, digits[rows])
    )
    info = inspect_model(picture_run)
    gap = again_of(told, evaluation, known.model_copy(update={"metric": "membership_gap"}), info)
    assert gap.value == pytest.approx(membership_gap(own, unseen, at).gap.value, rel=1e-4)
    with pytest.raises(RequestError, match="needs pictures never seen"):
        again_of(record, evaluation, known.model_copy(update={"metric": "membership_auc"}), info)
    other = evaluation.model_copy(update={"terms": evaluation.terms | {"noise draws": "77"}})
    with pytest.raises(RequestError, match="measured with other noise draws"):
        again_of(record, other, known, info)


def test_figures_of_other_networks_on_labels_are_the_recorded_values(label_run, tmp_path):
    run = Path(shutil.copytree(label_run, tmp_path / "run"))
    network = str(make_random(tmp_path / "network", MULTI, seed=4))
    content = json.loads((run / "record.json").read_text())
    content["settings"]["evaluate"] |= {
        "extractor": network, "reference": "digits#0-99",
        "detector": network, "detector_labels": ["bag"], "detector_threshold": 0.4,
    }  # fmt: skip
    (run / "record.json").write_text(json.dumps(content))
    evaluation, info, record = efface.evaluate(run), inspect_model(run), read_record(run)
    judged = (evaluation.judge or {})["sha256"]
    others = [r for r in evaluation.results if (r.extractor or {})["sha256"] != judged]
    chosen = [result for result in others if result.metric in ("fid", "sfid", "concept_rate")]
    assert len(chosen) == 3
    for result in chosen:
        again = again_of(record, evaluation, result, info)
        assert again.value == pytest.approx(result.value, rel=1e-4), result.metric
    terms = evaluation.terms | {"real images of the extractor": "0" * 12}
    with pytest.raises(RequestError, match="other real images of the extractor"):
        again_of(record, evaluation.model_copy(update={"terms": terms}), chosen[1], info)


def test_agreement_needs_the_model_that_the_run_began_with(label_run):
    record, evaluation = read_record(label_run), read_evaluation(label_run)
    result = evaluation.get("label_agreement")
    assert result is not None
    judge = Path(record.model["source"]) / "judge"
    moved = record.model_copy(update={"model": record.model | {"source": "owner/not-here"}})
    claim = Claim(
        result=result,
        record=moved,
        evaluation=evaluation,
        info=inspect_model(label_run),
        given=Given(judge=judge),
    )
    with pytest.raises(RequestError, match="'owner/not-here' is not on this machine"):
        remeasure(claim)
    other = result.model_copy(update={"protocol": result.protocol.replace("2 DDIM", "3 DDIM")})
    with pytest.raises(RequestError, match="untouched model: 2 DDIM steps"):
        again_of(record, evaluation, other, inspect_model(label_run))


def test_hostile_protocols_are_refused_before_anything_is_drawn(label_run):
    record, evaluation = read_record(label_run), read_evaluation(label_run)
    result, info = evaluation.results[0], inspect_model(label_run)
    for update in ({"seeds": [0, 10**12 - 1], "samples": 10**12}, {"seeds": []}, {"samples": 0},
                   {"seeds": [5, 1]}):  # fmt: skip
        with pytest.raises(DataError, match="one seed per sample"):
            again_of(record, evaluation, result.model_copy(update=update), info)
    with pytest.raises(RequestError, match="the settings of its run"):
        other = result.model_copy(update={"protocol": "50 steps"})
        again_of(record, evaluation, other, info)
    endless = record.settings | {"evaluate": record.settings["evaluate"] | {"draws": 10**9}}
    with pytest.raises(DataError, match="evaluate.draws: allowed are 1000"):
        again_of(record.model_copy(update={"settings": endless}), evaluation, result, info)
    for request in ({"kind": "class", "labels": [99]}, {"kind": "class", "labels": []}):
        with pytest.raises(RequestError):
            wrong = record.model_copy(update={"request": request})
            again_of(wrong, evaluation, result, info)
    with pytest.raises(DataError, match="does not know"):
        wrong = record.model_copy(update={"request": {"kind": "magic"}})
        again_of(wrong, evaluation, result, info)
