"""Rates of a detector by prompt group, computed anew from images sampled one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep, OneStep, draw_images
from efface.diffusion.text.denoiser import TextDenoiser
from efface.evaluation.protocol import observe_all, observe_model
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store
from efface.evaluation.subjects import Subjects
from efface.evaluation.views import ClipView, DetectorView, View
from efface.metrics.clip import load_clip
from efface.metrics.intervals import bounded_mean
from efface.records import Evaluation
from efface.requests.concept.prompt_groups import PromptGroup
from efface.requests.concept.prompts import ConceptPrompts
from efface.requests.concept.protocol import ConceptProtocol
from efface.settings.evaluate import EvaluateSettings
from tests.metrics.detectors import LABELS

PROMPTS = ConceptPrompts(forget=("a bag", "one bag"), targets=("a coat",) * 2, retain=("a cat",))
GROUPS = (
    PromptGroup(name="purse", kind="paraphrase", prompts=("a purse", "one purse")),
    PromptGroup(name="coat", kind="neighbour", prompts=("a coat",), labels=("coat",)),
    PromptGroup(name="boot", kind="neighbour", prompts=("a boot", "two boots"), labels=("boot",)),
    PromptGroup(name="both", kind="composition", prompts=("a coat, a bag",)),
)
CONFIG = EvaluateSettings(forget_samples=10, retain_samples=10, batch_size=4)
THRESHOLD = 0.4
LINES = {"result", "baseline", "baseline_one_step"}


@pytest.fixture(scope="module")
def subjects(text_model: Callable[..., TextDenoiser], pipelines: Callable[[str], Path]) -> Subjects:
    """A model in one step, beside itself in two."""
    denoiser = text_model("sd")
    return Subjects(
        info=inspect_model(pipelines("sd")),
        device=denoiser.device,
        result=Subject(denoiser=denoiser, sampler=OneStep(600), digest="result"),
        original=Subject(denoiser=denoiser, sampler=MultiStep(2), digest="original"),
    )


def protocol(views: Mapping[str, View], **changes: Any) -> ConceptProtocol:
    usual: dict[str, Any] = {
        "views": views,
        "prompts": PROMPTS,
        "phrases": ("bag", "coat"),
        "config": CONFIG,
        "groups": GROUPS,
        "group_samples": 5,
    }
    return ConceptProtocol(**(usual | changes))


def measure(subjects: Subjects, protocol: ConceptProtocol) -> Evaluation:
    return protocol.report(observe_all(subjects, protocol, Store(None)), subjects)


@pytest.fixture(scope="module")
def evaluation(subjects: Subjects, view: DetectorView) -> Evaluation:
    return measure(subjects, protocol({"detector": view}))


def sampled_one_by_one(subject: Subject, prompts: tuple[str, ...], first: int, count: int):
    each = list(itertools.islice(itertools.cycle(prompts), count))
    return torch.cat(
        [
            draw_images(
                subject.denoiser, subject.sampler, subject.denoiser.encode([p]), [first + i]
            )
            for i, p in enumerate(each)
        ]
    )


def found(view: DetectorView, images: torch.Tensor, label: str) -> list[bool]:
    column = LABELS.index(label)
    return [bool(row[column] > THRESHOLD) for row in view.detector.probabilities(images)]


def exact(hits: int, count: int) -> tuple[float, float]:
    """The interval of Clopper and Pearson, written out."""
    low = stats.beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)


def test_every_rate_is_the_share_of_its_own_samples_with_an_exact_interval(
    evaluation: Evaluation, subjects: Subjects, view: DetectorView
):
    rows = [("concept_rate", PROMPTS.forget, "bag", 1000, 10)]
    rows += [(g.metric, g.prompts, g.labels[0] if g.labels else "bag", 1020, 5) for g in GROUPS]
    rates = []
    for metric, prompts, label, first, count in rows:
        result = evaluation.get(metric)
        assert result is not None
        assert (result.seeds, result.samples) == ([first, first + count - 1], count)
        for subject, value in ((subjects.result, result), (subjects.original, result.baseline)):
            hits = sum(found(view, sampled_one_by_one(subject, prompts, first, count), label))
            assert value.value == hits / count
            assert (value.low, value.high) == pytest.approx(exact(hits, count), abs=1e-9)
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
    better = [result.spec.better for result in evaluation.results]
    assert better == ["less", "less", "more", "more", "less", "more"]
    seen_with = {metric: (r.extractor or {})["name"].split(", ")[1] for metric, r in rows.items()}
    assert seen_with["concept_rate"] == "bag above 0.4"
    assert seen_with["kept_rate/neighbour/boot"] == "boot above 0.4"
    assert all((r.extractor or {})["name"] in r.protocol for r in evaluation.results)
    assert "purse" not in "".join(r.protocol for r in evaluation.results)


def test_what_is_retained_is_the_neighbours_together(evaluation: Evaluation):
    kept = evaluation.get("retained_accuracy")
    coat, boot = (evaluation.get(f"kept_rate/neighbour/{name}") for name in ("coat", "boot"))
    assert kept is not None and coat is not None and boot is not None
    assert kept.samples == 10
    assert kept.value == pytest.approx((coat.value + boot.value) / 2)
    assert kept.baseline.value == pytest.approx((coat.baseline.value + boot.baseline.value) / 2)


def test_neighbours_of_one_seed_are_not_taken_for_independent_samples(
    evaluation: Evaluation, subjects: Subjects, view: DetectorView
):
    """Their interval is that of five means over seeds, not of ten samples."""
    kept, shares = evaluation.get("retained_accuracy"), []
    for group in GROUPS[1:3]:
        images = sampled_one_by_one(subjects.result, group.prompts, 1020, 5)
        shares.append(found(view, images, group.labels[0]))
    expected = bounded_mean(np.mean(shares, axis=0))
    assert kept is not None
    assert (kept.low, kept.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    alone = measure(subjects, protocol({"detector": view}, groups=GROUPS[1:2]))
    one, group = alone.get("retained_accuracy"), alone.get(GROUPS[1].metric)
    assert one is not None and group is not None
    assert (one.low, one.high) == pytest.approx((group.low, group.high), abs=1e-9)


def test_a_group_does_not_depend_on_the_others_or_on_batches(
    evaluation: Evaluation, subjects: Subjects, view: DetectorView
):
    config = CONFIG.model_copy(update={"batch_size": 100})
    alone = protocol({"detector": view}, groups=GROUPS[2:0:-1], config=config)
    again = measure(subjects, alone)
    for group in alone.groups:
        assert again.get(group.metric) == evaluation.get(group.metric)


def test_curves_show_every_threshold_and_meet_the_rates_at_their_own(evaluation: Evaluation):
    own, groups = evaluation.curves
    assert (own.name, set(own.lines)) == ("threshold_curve", LINES)
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


def test_curves_name_what_was_sought_and_pin_the_network(
    subjects: Subjects,
    view: DetectorView,
    clip_folder: Path,
):
    """As the rates that they pass through do."""
    clip = ClipView(clip=load_clip(clip_folder))
    for kind, sought in ((view, "bag above 0.4"), (clip, "'bag' rather than 'coat'")):
        evaluation = measure(subjects, protocol({"network": kind}))
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
        assert groups.extractor is not None and sought in groups.extractor["name"]
        assert groups.extractor["sha256"] == kind.extractor["sha256"]


def test_without_forget_prompts_groups_alone_are_measured(
    subjects: Subjects, view: DetectorView, evaluation: Evaluation
):
    plain = protocol({"detector": view}, prompts=ConceptPrompts(retain=("a cat",)), phrases=None)
    found = measure(subjects, plain)
    assert found.results == evaluation.results[1:]


def test_a_clip_rates_groups_where_there_is_no_detector(subjects: Subjects, clip_folder: Path):
    clip = load_clip(clip_folder)
    evaluation = measure(subjects, protocol({"clip": ClipView(clip=clip)}))
    texts = {"purse": ("bag", "coat"), "coat": ("coat", "bag"), "boot": ("boot", "bag", "coat")}
    for group in GROUPS[:3]:
        embedded = clip.embed_images(sampled_one_by_one(subjects.result, group.prompts, 1020, 5))
        logits = clip.temperature * embedded.astype(float) @ clip.embed_prompts(texts[group.name]).T
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        rate = evaluation.get(group.metric)
        assert rate is not None and rate.value == np.mean(shares[:, 0] > 0.5)
    names = [(r.extractor or {})["name"] for r in evaluation.results if r.metric.count("/")]
    assert len(set(names)) == 3  # the paraphrase and the composition look for the same


def test_sides_that_nothing_measures_are_not_sampled(subjects: Subjects, view: DetectorView):
    plain = protocol({"detector": view}, groups=())
    seen = observe_model(subjects.result, plain, Store(None))
    assert {name for name, looked in seen.items() if looked} == {"forget"}
    assert seen["forget"]["detector"]["probabilities"].shape == (10, len(LABELS))
