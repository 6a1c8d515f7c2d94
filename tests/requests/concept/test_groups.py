"""Rates of a detector by group of prompts, computed anew from pictures drawn one by one."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import PartialState, debug_launcher
from safetensors import safe_open

from efface.diffusion.loading import load_text
from efface.diffusion.sampling import MultiStep, OneStep, draw_images
from efface.diffusion.text.denoiser import TextDenoiser
from efface.evaluation.sample_sets import SampleSet, Subject, observe
from efface.evaluation.store import Store
from efface.evaluation.views import ClipView, DetectorView
from efface.metrics.clip import load_clip
from efface.metrics.detector import load_classifier
from efface.records import Evaluation
from efface.requests.classes.evaluation import ClassProtocol, ClassSubjects, evaluate_labels
from efface.requests.concept.evaluation import evaluate_concepts, observe_prompts
from efface.requests.concept.prompt_groups import PromptGroup
from efface.requests.concept.prompts import ConceptPrompts
from efface.requests.concept.protocol import ConceptProtocol
from efface.settings.reading import EvaluateConfig
from tests.conftest import make_tiny_unet
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.diffusion.text.conftest import text_model as text_model
from tests.evaluation.test_sample_sets import Pixels
from tests.metrics.detectors import LABELS, MULTI, make_random
from tests.metrics.test_clip import folder as clip_folder  # noqa: F401

PROMPTS = ConceptPrompts(forget=("a bag", "one bag"), targets=("a coat",) * 2, retain=("a cat",))
GROUPS = (
    PromptGroup(name="purse", kind="paraphrase", prompts=("a purse", "one purse")),
    PromptGroup(name="coat", kind="neighbour", prompts=("a coat",), labels=("coat",)),
    PromptGroup(name="boot", kind="neighbour", prompts=("a boot", "two boots"), labels=("boot",)),
    PromptGroup(name="both", kind="composition", prompts=("a coat, a bag",)),
)
CONFIG = EvaluateConfig(
    forget_samples=7,
    retain_samples=3,
    group_samples=5,
    batch_size=4,
    detector="x",
    detector_labels=("bag",),
)
THRESHOLD = 0.4


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> DetectorView:
    folder = make_random(tmp_path_factory.mktemp("detector"), MULTI, seed=4)
    return DetectorView(detector=load_classifier(folder), labels=("bag",), threshold=THRESHOLD)


@pytest.fixture(scope="module")
def subjects(text_model: Callable[..., TextDenoiser]) -> ClassSubjects:
    denoiser = text_model("sd")
    step = OneStep(600)
    return ClassSubjects(
        result=Subject(denoiser=denoiser, sampler=step, digest="result"),
        untouched=Subject(denoiser=denoiser, sampler=MultiStep(2), digest="untouched"),
    )


def protocol(**changes: Any) -> ConceptProtocol:
    known = {"prompts": PROMPTS, "phrases": ("bag", "coat"), "config": CONFIG, "groups": GROUPS}
    return ConceptProtocol(**(known | changes))


@pytest.fixture(scope="module")
def evaluation(subjects: ClassSubjects, view: DetectorView) -> Evaluation:
    return evaluate_concepts(subjects, protocol(), {"detector": view}, Store(None))


def drawn_one_by_one(subject: Subject, prompts: tuple[str, ...], first: int, count: int):
    asked = list(itertools.islice(itertools.cycle(prompts), count))
    return torch.cat(
        [
            draw_images(
                subject.denoiser, subject.sampler, subject.denoiser.encode([p]), [first + i]
            )
            for i, p in enumerate(asked)
        ]
    )


def found(view: DetectorView, images: torch.Tensor, label: str) -> list[bool]:
    column = LABELS.index(label)
    return [bool(row[column] > THRESHOLD) for row in view.detector.probabilities(images)]


def wilson(hits: float, count: float) -> tuple[float, float]:
    """Wilson's score interval, written out."""
    z, share = 1.959963984540054, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / count / 2) ** 2)
    return middle - reach, middle + reach


def test_every_rate_is_the_share_of_its_own_samples_with_wilsons_interval(
    evaluation: Evaluation, subjects: ClassSubjects, view: DetectorView
):
    asked = [("concept_rate", PROMPTS.forget, "bag", 1000, 7)]
    asked += [(g.metric, g.prompts, g.labels[0] if g.labels else "bag", 1010, 5) for g in GROUPS]
    rates = []
    for metric, prompts, label, first, count in asked:
        result = evaluation.get(metric)
        assert result is not None
        assert (result.seeds, result.samples) == ([first, first + count - 1], count)
        for subject, value in ((subjects.result, result), (subjects.untouched, result.baseline)):
            hits = sum(found(view, drawn_one_by_one(subject, prompts, first, count), label))
            assert value.value == hits / count
            assert (value.low, value.high) == pytest.approx(wilson(hits, count), abs=1e-9)
            rates.append(value.value)
    assert len(set(rates)) > 3  # not all the same


def test_each_group_has_a_row_of_its_own_in_the_right_direction(evaluation: Evaluation):
    rows = {r.metric: r for r in evaluation.results}
    assert list(rows) == [
        "concept_rate",
        "concept_rate/paraphrase/purse",
        "kept_rate/neighbour/coat",
        "kept_rate/neighbour/boot",
        "concept_rate/composition/both",
        "retained_accuracy",
    ]
    better = [result.higher_is_better for result in evaluation.results]
    assert better == [False, False, True, True, False, True]
    seen_with = {metric: (r.extractor or {})["name"].split(", ")[1] for metric, r in rows.items()}
    assert seen_with["concept_rate"] == "bag above 0.4"
    assert seen_with["kept_rate/neighbour/boot"] == "boot above 0.4"
    assert all((r.extractor or {})["name"] in r.protocol for r in evaluation.results)
    assert "purse" not in "".join(r.protocol for r in evaluation.results)


def test_what_stays_is_the_neighbours_together(evaluation: Evaluation):
    kept = evaluation.get("retained_accuracy")
    coat, boot = (evaluation.get(f"kept_rate/neighbour/{name}") for name in ("coat", "boot"))
    assert kept is not None and coat is not None and boot is not None
    assert kept.samples == 10
    assert kept.value == pytest.approx((coat.value + boot.value) / 2)
    assert kept.baseline.value == pytest.approx((coat.baseline.value + boot.baseline.value) / 2)


def test_neighbours_of_one_seed_are_not_taken_for_independent_samples(
    evaluation: Evaluation, subjects: ClassSubjects, view: DetectorView
):
    """Wilson's interval of as many samples as the spread of the means over seeds says."""
    kept, shares = evaluation.get("retained_accuracy"), []
    for group in GROUPS[1:3]:
        images = drawn_one_by_one(subjects.result, group.prompts, 1010, 5)
        shares.append(found(view, images, group.labels[0]))
    means = np.mean(shares, axis=0)
    worth = means.mean() * (1 - means.mean()) / (means.var() / 5) if means.std() else 5
    assert kept is not None
    hits = kept.value * min(worth, 10)
    assert (kept.low, kept.high) == pytest.approx(wilson(hits, min(worth, 10)), abs=1e-9)
    alone = evaluate_concepts(
        subjects, protocol(groups=GROUPS[1:2]), {"detector": view}, Store(None)
    )
    one, group = alone.get("retained_accuracy"), alone.get(GROUPS[1].metric)
    assert one is not None and group is not None
    assert (one.low, one.high) == pytest.approx((group.low, group.high), abs=1e-9)


def test_a_group_does_not_depend_on_the_others_or_on_batches(
    evaluation: Evaluation, subjects: ClassSubjects, view: DetectorView
):
    config = dataclasses.replace(CONFIG, batch_size=100)
    alone = protocol(groups=GROUPS[2:0:-1], config=config)
    again = evaluate_concepts(subjects, alone, {"detector": view}, Store(None))
    for group in alone.groups:
        assert again.get(group.metric) == evaluation.get(group.metric)


def test_curves_show_every_threshold_and_meet_the_rates_at_their_own(evaluation: Evaluation):
    own, groups = evaluation.curves
    assert (own.name, set(own.lines)) == ("threshold_curve", {"result", "baseline"})
    assert groups.name == "group_threshold_curve"
    assert set(groups.lines) == {
        f"{m}_{g}" for m in ("result", "baseline") for g in ("purse", "both")
    }
    pairs = [(own.lines["result"], "concept_rate")]
    pairs += [(groups.lines["result_purse"], GROUPS[0].metric)]
    for line, metric in pairs:
        rate = evaluation.get(metric)
        at = next(point for point in line if point.x == THRESHOLD)
        assert rate is not None
        assert (at.value, at.low, at.high) == (rate.value, rate.low, rate.high)


def test_curves_name_what_was_looked_for_and_pin_what_looked(
    subjects: ClassSubjects,
    view: DetectorView,
    clip_folder: Path,  # noqa: F811
):
    """As the rates that they pass through do."""
    clip = ClipView(clip=load_clip(clip_folder))
    for kind, looked_for in ((view, "bag above 0.4"), (clip, "'bag' rather than 'coat'")):
        evaluation = evaluate_concepts(subjects, protocol(), {"looks": kind}, Store(None))
        own, groups = evaluation.curves
        for curve, metric in (
            (own, "concept_rate"),
            (groups, "concept_rate/paraphrase/purse"),
            (groups, "concept_rate/composition/both"),
        ):
            rate = evaluation.get(metric)
            assert rate is not None and rate.extractor is not None
            assert curve.extractor == rate.extractor
            assert curve.protocol == rate.protocol
        assert groups.extractor is not None and looked_for in groups.extractor["name"]
        assert groups.extractor["sha256"] == kind.extractor["sha256"]


def test_without_forget_prompts_groups_alone_are_measured(
    subjects: ClassSubjects, view: DetectorView, evaluation: Evaluation
):
    """As for a run that distils: the student that stands beside."""
    plain = protocol(prompts=ConceptPrompts(retain=("a cat",)), phrases=None)
    found = evaluate_concepts(subjects, plain, {"detector": view}, Store(None))
    assert found.results == evaluation.results[1:]


def test_a_clip_rates_groups_where_there_is_no_detector(
    subjects: ClassSubjects,
    clip_folder: Path,  # noqa: F811
):
    clip = load_clip(clip_folder)
    evaluation = evaluate_concepts(subjects, protocol(), {"clip": ClipView(clip=clip)}, Store(None))
    texts = {"purse": ("bag", "coat"), "coat": ("coat", "bag"), "boot": ("boot", "bag", "coat")}
    for group in GROUPS[:3]:
        embedded = clip.embed_images(drawn_one_by_one(subjects.result, group.prompts, 1010, 5))
        logits = clip.temperature * embedded.astype(float) @ clip.embed_prompts(texts[group.name]).T
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        rate = evaluation.get(group.metric)
        assert rate is not None and rate.value == np.mean(shares[:, 0] > 0.5)
    names = [(r.extractor or {})["name"] for r in evaluation.results if r.metric.count("/")]
    assert len(set(names)) == 3  # the paraphrase and the composition look for the same


def test_labels_are_detected_in_class_runs_too(view: DetectorView):
    subject = Subject(denoiser=make_tiny_unet(), sampler=MultiStep(2), digest="tiny")
    subjects = ClassSubjects(result=subject, untouched=subject)
    labels = ClassProtocol(forgotten=[3, 5], retained=[1], config=CONFIG)
    (rate,) = evaluate_labels(subjects, labels, {"detector": view}, Store(None)).results
    condition = subject.denoiser.encode([3, 5, 3, 5, 3, 5, 3])
    images = draw_images(subject.denoiser, MultiStep(2), condition, range(1000, 1007))
    assert (rate.metric, rate.value) == ("concept_rate", np.mean(found(view, images, "bag")))


def samples_of(denoiser: TextDenoiser, batch_size: int = 2) -> SampleSet:
    subject = Subject(denoiser=denoiser, sampler=OneStep(600), digest="tiny")
    asked = ["a bag", "a secret word", "a cat", "a dog", "a boot"]
    return SampleSet(subject=subject, seeds=range(5, 10), asked=asked, batch_size=batch_size)


def test_prompts_are_kept_by_their_digest_and_drawn_once(
    text_model: Callable[..., TextDenoiser], tmp_path: Path
):
    store, first, second = Store(tmp_path), Pixels(), Pixels()
    samples = samples_of(text_model("sd"))
    observe(samples, {"pixels": first}, store, "test")
    observe(samples_of(text_model("sd"), batch_size=5), {"pixels": second}, store, "test")
    assert (first.batches, second.batches) == (3, 0)
    (file,) = tmp_path.glob("*.safetensors")
    with safe_open(file, "np") as kept:
        assert "secret" not in kept.metadata()["key"]
    other = dataclasses.replace(
        samples, asked=["a bag", "another word", "a cat", "a dog", "a boot"]
    )
    third = Pixels()
    observe(other, {"pixels": third}, store, "test")
    assert third.batches == 3


def test_sides_that_nobody_looks_at_are_not_drawn(subjects: ClassSubjects, view: DetectorView):
    seen = observe_prompts(subjects.result, protocol(), {"detector": view}, Store(None))
    assert set(seen["detector"]) == {"forget"}
    assert seen["detector"]["forget"]["probabilities"].shape == (7, len(LABELS))


def draw_in_one_of_two_processes(folder: str) -> None:
    torch.set_num_threads(1)
    PartialState._reset_state()  # or that of the parent, with one process, would be taken over
    PartialState(cpu=True)
    pixels = Pixels()
    samples = samples_of(load_text(Path(folder) / "model"), batch_size=1)
    seen = observe(samples, {"pixels": pixels}, Store(None), "test")["pixels"]["pixels"]
    rank = torch.distributed.get_rank()
    np.savez(Path(folder) / f"{rank}.npz", seen=seen, batches=pixels.batches)


def test_two_processes_share_the_prompts_and_see_the_same(
    pipelines: Callable[[str], Path], text_model: Callable[..., TextDenoiser], tmp_path: Path
):
    (tmp_path / "model").symlink_to(pipelines("sd"))
    debug_launcher(draw_in_one_of_two_processes, (str(tmp_path),), 2)
    pixels = Pixels()
    alone = observe(samples_of(text_model("sd")), {"pixels": pixels}, Store(None), "test")
    shares = []
    for rank in range(2):
        found = np.load(tmp_path / f"{rank}.npz")
        np.testing.assert_allclose(found["seen"], alone["pixels"]["pixels"], atol=1e-5)
        shares.append(int(found["batches"]))
    assert shares == [3, 2]
