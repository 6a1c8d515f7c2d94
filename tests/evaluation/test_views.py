"""Figures of different networks stand apart, and are those of the samples and real images given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import efface
from efface.data.images import load_images
from efface.diffusion.loading import load
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import DataError
from efface.metrics.extractors import extract, load_extractor
from efface.records import Evaluation, read_evaluation
from tests.metrics.clips import make_clip
from tests.metrics.test_extractors import make

SMALL = ["train.steps=2", "train.batch_size=8", "evaluate.forget_samples=20"]
SMALL += ["evaluate.retain_samples=45", "evaluate.baseline_steps=3", "method.forget_share=0.5"]
SMALL += ["evaluate.guidance=1.0"]


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("vit")
    make("vit", place)
    return place


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "tiny-clip")


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return efface.forget(tiny_model, efface.ForgetClass(labels=(0,)), out, changes=SMALL)


@pytest.fixture(scope="module")
def seen(run: Path, vit: Path, clip: Path) -> Evaluation:
    more = [f"evaluate.extractor={vit}", "evaluate.reference=digits", f"evaluate.clip={clip}"]
    return efface.evaluate(run, changes=more)


def test_each_network_has_rows_of_its_own(seen: Evaluation):
    rows = [(r.metric, (r.extractor or {}).get("sha256")) for r in seen.results]
    assert len(set(rows)) == len(rows)
    assert len({sha256 for name, sha256 in rows if name == "fd"}) == 2
    assert None not in {sha256 for _, sha256 in rows}
    assert {name for name, _ in rows} >= {"sfid", "clip_iqa", "kid", "density", "label_agreement"}
    for result in seen.results:
        assert result.extractor is not None and result.extractor["name"] in result.protocol


def test_the_judges_figures_come_first_and_do_not_change(run: Path, seen: Evaluation):
    alone = efface.evaluate(run)
    judge = judge_of(seen)
    judged = [r for r in seen.results if r.extractor == judge]
    assert judged == [r for r in alone.results if r.extractor == judge]
    assert judged == seen.results[: len(judged)]


def test_an_extractors_fid_is_that_of_its_features(
    run: Path, seen: Evaluation, tiny_model: Path, vit: Path
):
    (result,) = [r for r in seen.results if r.metric == "fd" and r.extractor != judge_of(seen)]
    network, digits = load_extractor(vit), load_images("digits", "train")
    assert digits.labels is not None
    real, _ = extract(network, (digits.select(digits.labels != 0).images.float() / 255).split(100))
    untouched = load(tiny_model)
    asked = [1 + i % 9 for i in range(45)]
    seeds = range(result.seeds[0], result.seeds[1] + 1)
    drawn = draw_images(untouched, MultiStep(3), untouched.encode(asked), seeds)
    features, _ = extract(network, [drawn])
    gap = features.mean(0, dtype=np.float64) - real.mean(0, dtype=np.float64)
    roots = np.linalg.eigvals(
        np.cov(features, rowvar=False).astype(np.complex128) @ np.cov(real, rowvar=False)
    )
    traces = np.trace(np.cov(features, rowvar=False)) + np.trace(np.cov(real, rowvar=False))
    expected = gap @ gap + traces - 2 * np.sqrt(roots).real.sum()
    assert result.baseline.value == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert result.spec.label == f"Fréchet distance ({vit.name})"


def judge_of(evaluation: Evaluation) -> dict[str, str] | None:
    return evaluation.results[0].extractor


def test_labels_seen_and_the_threshold_curve_are_counts_of_the_same_samples(run: Path):
    evaluation = read_evaluation(run)
    matrix, (curve,) = evaluation.labels_seen, evaluation.curves
    assert matrix is not None and matrix.labels == list(range(10))
    assert curve.extractor == judge_of(evaluation)
    assert matrix.samples == [20] + [5] * 9
    for shares in matrix.shares.values():
        np.testing.assert_allclose(np.sum(shares, 1), 1)
    retained = evaluation.get("retained_accuracy")
    assert retained is not None
    right = np.mean([matrix.shares["result"][i][i] for i in range(1, 10)])
    assert right == pytest.approx(retained.value)
    for line in curve.lines.values():
        values = [point.value for point in line]
        assert values == sorted(values, reverse=True)
        assert all(point.low <= point.value <= point.high for point in line)


def test_an_extractor_is_pinned_by_its_checksum(run: Path, vit: Path):
    pinned = ["evaluate.reference=digits", f"evaluate.extractor={vit}@sha256:00"]
    with pytest.raises(DataError, match="00"):
        efface.evaluate(run, changes=pinned)
