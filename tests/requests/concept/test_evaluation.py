"""What is measured of concepts, and what a page says of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from efface.metrics.clip import load_clip
from efface.metrics.clip_contrast import detector_scores
from efface.records import read_evaluation, read_record
from efface.reporting import judge_run, write_report
from efface.runs.evaluate import evaluate
from tests.conftest import assert_drawn_once
from tests.metrics.test_clip import folder as clip_folder  # noqa: F401
from tests.reporting.test_page import HOSTILE, Page, assert_safe


@pytest.fixture(scope="module")
def seen(
    concept_runs: Callable[[str], Path],
    clip_folder: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("seen") / "run"
    shutil.copytree(concept_runs("sd_v"), out)
    evaluate(out, changes=[f"evaluate.clip={str(clip_folder)!r}"])
    return out


def test_without_a_clip_nothing_is_claimed(concept_runs: Callable[[str], Path]) -> None:
    evaluation = read_evaluation(concept_runs("sd"))
    assert evaluation.results == [] and evaluation.curves == []
    assert set(evaluation.change) == {"weights", "samples", "retained_distance"}
    assert evaluation.change["weights"] > 0


def test_a_clip_measures_the_concept_and_what_stays_beside_the_untouched_model(seen: Path) -> None:
    evaluation = read_evaluation(seen)
    assert [r.metric for r in evaluation.results] == ["concept_rate", "clip_score", "clip_iqa"]
    for result in evaluation.results:
        assert result.low <= result.value <= result.high
        assert result.baseline_one_step is not None and result.extractor is not None
        assert result.samples == 4
    assert {"untouched model", "prompts to forget", "prompts that stay"} <= evaluation.terms.keys()
    (curve,) = evaluation.curves
    assert set(curve.lines) == {"result", "baseline", "baseline_one_step"}
    at_half = next(point for point in curve.lines["result"] if point.x == 0.5)
    assert at_half.value == evaluation.results[0].value
    assert "asked for under one prompt" in (seen / "report.html").read_text()


def test_a_run_is_measured_again_by_no_pass(seen: Path, clip_folder: Path, tmp_path: Path) -> None:  # noqa: F811
    out = tmp_path / "run"
    shutil.copytree(seen, out)
    assert_drawn_once(out, [f"evaluate.clip={str(clip_folder)!r}"])


def test_networks_held_in_bfloat16_are_measured_as_such(
    seen: Path,
    clip_folder: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    shutil.copytree(seen, out)
    before = read_evaluation(out)
    clip = f"evaluate.clip={str(clip_folder)!r}"
    half = evaluate(out, changes=[clip, "evaluate.dtype=bf16"])
    assert half.key != before.key
    assert half.change["weights"] == before.change["weights"]  # from the files
    for own, other in zip(half.results, before.results, strict=True):
        assert own.value == pytest.approx(other.value, abs=2)
    assert half.results[1].baseline != before.results[1].baseline  # drawn anew
    assert evaluate(out, changes=[clip, "evaluate.dtype=float32"]).results == before.results


def test_the_detector_chooses_between_two_texts(clip_folder: Path) -> None:  # noqa: F811
    """Against a softmax over two logits computed one image at a time."""
    clip = load_clip(clip_folder)
    embedded = clip.embed_images(
        torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    )
    contrasts = [("a bag", "a coat"), ("a coat", "a bag"), ("red bag", "a coat")]
    scores = detector_scores(clip, embedded, contrasts)
    for image, pair, score in zip(embedded, contrasts, scores, strict=True):
        logits = [clip.temperature * float(clip.embed_prompts([text])[0] @ image) for text in pair]
        assert score == pytest.approx(1 / (1 + np.exp(logits[1] - logits[0])), rel=1e-3)


def test_hostile_prompts_stay_text_on_the_page(
    concept_runs: Callable[[str], Path], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(concept_runs("sd"), tmp_path / "run"))
    grid = json.loads((out / "samples" / "grid.json").read_text())
    (out / "samples" / "grid.json").write_text(json.dumps(grid | {"names": HOSTILE[:4]}))
    record = json.loads((out / "record.json").read_text())
    record["request"] |= {"concept": HOSTILE[0], "replacement": HOSTILE[4]}
    (out / "record.json").write_text(json.dumps(record))
    assert_safe(Page(write_report([out], tmp_path / "page.html")))


def test_the_page_says_what_was_asked_and_claims_no_more_than_was_measured(
    concept_runs: Callable[[str], Path], seen: Path
) -> None:
    unmeasured = judge_run(read_record(concept_runs("sd3")), read_evaluation(concept_runs("sd3")))
    assert "forget the concept \u201cbag\u201d and to draw \u201ccoat\u201d" in unmeasured.lead
    assert "no CLIP has looked" in unmeasured.lead
    assert unmeasured.forgotten in ("unmeasured", "unchanged")
    judged = judge_run(read_record(seen), read_evaluation(seen))
    assert "A CLIP chose between" in judged.lead
    assert "Asked 4 times for the concept" in judged.told["Forget"]
    assert judged.kept in ("unmeasured", "collapsed") and judged.outcome != "forgotten"
