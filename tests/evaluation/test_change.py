"""How far a model lies from the original one: not at all, or beyond recognition."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import efface
from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep
from efface.evaluation import change
from efface.evaluation.change import SAMPLES, measure_change, weight_change
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store
from efface.records import Evaluation, read_record
from efface.reporting import judge_run
from tests.tiny import make_tiny_unet

SMALL = ("evaluate.baseline_steps=4",)
CLASSES = (*SMALL, "evaluate.forget_samples=20", "evaluate.retain_samples=36")
IMAGES = (*SMALL, "images.samples=32", "images.unseen=4", "images.controls=2", "images.draws=1")
IMAGES += ("images.likelihood_steps=2",)


@pytest.fixture(autouse=True)
def _all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "SAMPLES", SAMPLES)


def digits() -> Subject:
    return Subject(denoiser=load(inspect_model("zoo:digits")), sampler=MultiStep(4))


def test_scaling_all_weights_changes_them_by_that_share(tmp_path):
    network: Any = make_tiny_unet().network
    wider: Any = make_tiny_unet(channels=(8, 24)).network
    for name, model in (("before", network), ("wider", wider)):
        model.save_pretrained(tmp_path / name)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.03)
    network.save_pretrained(tmp_path / "after", max_shard_size="20KB")
    assert len(list((tmp_path / "after").glob("*.safetensors"))) > 1
    before = tmp_path / "before"
    assert weight_change(tmp_path / "after", before) == pytest.approx(0.03, rel=1e-4)
    assert weight_change(before, before) == 0
    assert weight_change(tmp_path / "wider", before) == math.inf


def test_a_model_beside_itself_has_not_changed():
    subject = digits()
    found = measure_change(subject, subject, range(10), Store(None))
    assert found["samples"] == 0
    assert abs(found["retained_distance"]) < 0.1


def test_a_network_of_noise_is_far_away():
    untouched = digits()
    broken = Subject(denoiser=untouched.denoiser.clone(), sampler=untouched.sampler)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in broken.denoiser.network.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    found = measure_change(broken, untouched, range(10), Store(None))
    assert found["samples"] > 0.5 and found["retained_distance"] > 0.5


def run_of(method: str, out: Path, *changes: str) -> Evaluation:
    if method == "sfd":
        model, request, small = "zoo:digits", efface.ForgetClass(labels=(0,)), CLASSES
    else:
        model, small = "zoo:digits-symbol", IMAGES
        request = efface.ForgetImages(images="zoo:symbol", retain="digits", unseen="digits")
    efface.forget(model, request, out, method=method, changes=[*small, *changes], measure=False)
    return efface.evaluate(out)


def shown_headline(run: Path) -> str:
    page = (run / "report.html").read_text(encoding="utf-8")
    found = re.search(r"<h1 [^>]*>(.*?)</h1>", page)
    assert found is not None
    return html.unescape(found[1])


@pytest.mark.parametrize("method", ["sfd", pytest.param("siss", marks=pytest.mark.slow)])
def test_a_run_without_a_learning_rate_has_no_effect(method, tmp_path):
    still = ["train.learning_rate=0.0", "train.steps=2", "train.batch_size=8"]
    evaluation = run_of(method, tmp_path / "run", *still)
    assert evaluation.change["weights"] == evaluation.change["samples"] == 0
    assert "seeds 6000000 to 6000063" in evaluation.change_protocol
    verdict = judge_run(read_record(tmp_path / "run"), evaluation)
    assert verdict.answers["forget"] != "yes"
    assert verdict.headline.startswith("No effect: ")
    assert "Sampled in the same way, the original model generates the same." in verdict.headline
    assert shown_headline(tmp_path / "run") == verdict.headline


def test_a_run_that_was_pushed_too_far_has_collapsed(tmp_path):
    far = ["train.learning_rate=3e-3", "train.steps=40", "train.batch_size=8"]
    evaluation = run_of("neggrad", tmp_path / "run", *far, "train.guard_every=0")
    assert evaluation.change["retained_distance"] > 0.5
    verdict = judge_run(read_record(tmp_path / "run"), evaluation)
    assert verdict.answers["retain"] == "no" and "The model has collapsed: " in verdict.headline
    assert shown_headline(tmp_path / "run") == verdict.headline
