"""What is measured again is what was recorded, and a pack cannot ask for more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import efface
from efface.data.images import load_images
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import EffaceError, RequestError
from efface.evidence.compare import Again, Check, compare
from efface.evidence.networks import Given, NotHereError
from efface.evidence.remeasure import recorded_settings, remeasure
from efface.records import RunRecord, read_evaluation, read_record
from efface.requests import read_request
from tests.evidence.conftest import LABELS, forget
from tests.metrics.detectors import MULTI, make_random

Measure = Callable[..., Again]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Measure a run again, with changes to its record."""

    def again(run: Path, record: RunRecord | None = None, given: Given | None = None) -> Again:
        shutil.copytree(run / "preparation", tmp_path / "preparation", dirs_exist_ok=True) if (
            run / "preparation"
        ).exists() else None
        own, evaluation = record or read_record(run), read_evaluation(run)
        return remeasure(own, evaluation, tmp_path, run / "pipeline", given or Given())

    return again


@pytest.mark.parametrize("which", ["label_run", "image_run"])
def test_every_figure_is_measured_again_as_it_was_recorded(which, measure, request):
    run = request.getfixturevalue(which)
    recorded, again = read_evaluation(run), measure(run)
    assert len(recorded.results) >= 9 and not again.missing
    checks = compare(recorded, again)
    assert all(check.good and check.looked for check in checks), checks
    named = {check.subject.partition(" ")[0] for check in checks}
    assert {result.metric for result in recorded.results} <= named
    for result, other in zip(recorded.results, again.evaluation.results, strict=True):
        assert other.value == pytest.approx(result.value, rel=1e-6), result.metric


def test_a_model_that_is_there_only_as_a_variant_is_recorded_and_measured_again(
    tiny_model, tmp_path, measure
):
    model = Path(shutil.copytree(tiny_model, tmp_path / "half"))
    plain = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights = {name: weight.half() for name, weight in load_file(plain).items()}
    save_file(weights, plain.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
    plain.unlink()
    asked = efface.ForgetClass(labels=(3,), replacement=(1, 2))
    run = forget(model, asked, tmp_path / "run", LABELS)
    record = read_record(run)
    assert record.model["variants"] == {"unet": "fp16"}
    assert list(record.model["weights"]) == ["unet/diffusion_pytorch_model.fp16.safetensors"]
    assert list(record.output) == ["unet/diffusion_pytorch_model.safetensors"]
    checks = compare(read_evaluation(run), measure(run))
    assert all(check.good and check.looked for check in checks), checks


def test_copies_of_images_are_counted_anew(image_run, tmp_path):
    """The images are two of the samples themselves; distances and copies are counted here."""
    record = read_record(image_run)
    steps = record.settings["evaluate"]["baseline_steps"]
    seeds = range(1000, 1000 + record.settings["images"]["samples"])
    model = efface.load(image_run)
    samples = draw_images(model, MultiStep(steps), None, seeds).numpy()
    chosen = np.round(samples[[4, 9], 0] * 255).astype(np.uint8)
    (tmp_path / "chosen").mkdir()
    for i, pixels in enumerate(chosen):
        Image.fromarray(pixels).save(tmp_path / "chosen" / f"{i}.png")
    digits = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    train, _ = train_test_split(
        np.arange(1797), test_size=450, random_state=0, stratify=load_digits().target
    )

    def distances(images: np.ndarray) -> np.ndarray:
        between = images[:, None].astype(np.float64) - chosen[None] / 255
        return np.sqrt((between**2).sum((2, 3)))

    near = distances(digits[train] / 255).min() / 2
    copies = int((distances(samples[:, 0]).min(1) < near).sum())
    assert copies >= 2
    asked = record.request | {"images": str(tmp_path / "chosen"), "retain": "digits"}
    request = read_request(asked)
    settings = recorded_settings(record, request)
    info = inspect_model(image_run)
    material = request.read(info, settings)
    told = record.model_copy(update={"request": asked, "material": material.recorded()})
    evaluation = read_evaluation(image_run)
    again = remeasure(told, evaluation, tmp_path, image_run / "pipeline", Given())
    rate = again.evaluation.get("copy_rate")
    assert rate is not None and rate.value == copies / len(samples)
    hashes = told.material | {"hashes": told.material["hashes"][::-1]}
    lost = told.model_copy(update={"material": hashes})
    with pytest.raises(RequestError, match="is not what was recorded"):
        remeasure(lost, evaluation, tmp_path, image_run / "pipeline", Given())


def test_figures_of_other_networks_on_labels_are_the_recorded_values(label_run, tmp_path, measure):
    run = Path(shutil.copytree(label_run, tmp_path / "run"))
    network = str(make_random(tmp_path / "network", MULTI, seed=4))
    content = json.loads((run / "record.json").read_text())
    content["settings"]["evaluate"] |= {
        "extractor": network, "reference": "digits#0-99",
        "detector": network, "detector_labels": ["bag"], "detector_threshold": 0.4,
    }  # fmt: skip
    (run / "record.json").write_text(json.dumps(content))
    evaluation = efface.evaluate(run)
    again = measure(run)
    judged = (evaluation.judge or {})["sha256"]
    others = [r for r in evaluation.results if (r.extractor or {})["sha256"] != judged]
    assert {"fd", "sfid", "concept_rate"} <= {result.metric for result in others}
    assert not bad(compare(evaluation, again))
    for result, other in zip(evaluation.results, again.evaluation.results, strict=True):
        assert other.value == pytest.approx(result.value, rel=1e-4), result.metric
    moved = Path(shutil.move(network, tmp_path / "elsewhere"))
    without = measure(run)
    assert set(without.missing) == {"extractor", "detector"}
    checks = compare(evaluation, without)
    assert not bad(checks)
    skipped = {check.subject.partition(" ")[0] for check in checks if not check.looked}
    assert skipped == {result.metric for result in others} | {"terms:", "guidance"}
    given = measure(run, given=Given(detector=moved))
    assert set(given.missing) == {"extractor"} and not bad(compare(evaluation, given))


def bad(checks: list[Check]) -> list[Check]:
    return [check for check in checks if not check.good]


def test_hostile_records_are_refused_before_anything_is_sampled(label_run, measure):
    record = read_record(label_run)

    def refused(match: str, **changes: object) -> None:
        with pytest.raises(EffaceError, match=match):
            measure(label_run, record.model_copy(update=changes))

    endless = {"evaluate": record.settings["evaluate"] | {"forget_samples": 10**12}}
    refused("forget_samples", settings=record.settings | endless)
    refused("99", request={"kind": "class", "labels": [99], "replacement": []})
    refused("no label", request={"kind": "class", "labels": [], "replacement": []})
    refused("magic", request={"kind": "magic"})
    refused("not-here", model=record.model | {"source": "owner/not-here"})


def test_a_pack_has_nothing_downloaded_and_no_module_imported(image_run, label_run, measure):
    record = read_record(image_run)
    named = record.model_copy(update={"request": record.request | {"unseen": "datasets:a/b"}})
    with pytest.raises(NotHereError, match="datasets:a/b"):
        measure(image_run, named)
    labels = read_record(label_run)
    method = labels.settings | {"method": {"name": "os.path"}}
    settings = recorded_settings(
        labels.model_copy(update={"settings": method}), read_request(labels.request)
    )
    assert settings.method_name == "sfd"


def test_images_that_are_not_here_are_said(image_run, measure):
    record = read_record(image_run)
    gone = record.model_copy(update={"request": record.request | {"images": "nowhere"}})
    with pytest.raises(NotHereError, match="nowhere"):
        measure(image_run, gone)
    assert len(load_images(record.request["images"])) == 2
