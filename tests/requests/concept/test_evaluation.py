"""What is measured of concepts, in whole runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import draw_images
from efface.metrics.detector import load_classifier
from efface.records import Evaluation, read_evaluation
from efface.reporting import write_report
from efface.runs.evaluate import evaluate
from tests.counting import assert_drawn_once
from tests.metrics.detectors import LABELS
from tests.reporting.pages import HOSTILE, Page, assert_safe


def test_without_a_network_nothing_is_claimed(concept_runs: Callable[[str], Path]) -> None:
    evaluation = read_evaluation(concept_runs("sd"))
    assert evaluation.results == [] and evaluation.curves == []
    assert set(evaluation.change) == {"weights", "samples", "retained_distance"}
    assert evaluation.change["weights"] > 0


def test_a_clip_measures_the_concept_and_retained_prompts_beside_the_original_model(
    measured_with_clip: Path,
) -> None:
    evaluation = read_evaluation(measured_with_clip)
    assert [r.metric for r in evaluation.results] == ["concept_rate", "clip_score", "clip_iqa"]
    for result in evaluation.results:
        assert result.low <= result.value <= result.high
        assert result.baseline_one_step is not None and result.extractor is not None
        assert result.samples == 10
    assert {"forget prompts", "retained prompts", "prompt groups"} <= evaluation.terms.keys()
    (curve,) = evaluation.curves
    assert set(curve.lines) == {"result", "baseline", "baseline_one_step"}
    at_half = next(point for point in curve.lines["result"] if point.x == 0.5)
    assert at_half.value == evaluation.results[0].value


def test_a_run_is_measured_again_by_no_pass(
    measured_with_clip: Path, clip_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(measured_with_clip, out)
    assert_drawn_once(out, [f"evaluate.clip={str(clip_folder)!r}"])


def test_networks_held_in_bfloat16_are_measured_as_such(
    measured_with_clip: Path, clip_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(measured_with_clip, out)
    before = read_evaluation(out)
    clip = f"evaluate.clip={str(clip_folder)!r}"
    half = evaluate(out, changes=[clip, "evaluate.dtype=bfloat16"])
    assert half.key != before.key
    assert half.change["weights"] == before.change["weights"]  # from the files
    for own, other in zip(half.results, before.results, strict=True):
        assert own.value == pytest.approx(other.value, abs=2)
    assert half.results[1].baseline != before.results[1].baseline  # sampled anew
    assert evaluate(out, changes=[clip, "evaluate.dtype=float32"]).results == before.results


def values(evaluation: Evaluation, metric: str) -> list[float]:
    result = evaluation.get(metric)
    assert result is not None and result.distilled is not None
    assert result.baseline_one_step is not None
    return [result.value, result.baseline.value, result.distilled.value]


def test_the_generator_that_a_run_began_from_is_measured_beside_it(
    two_stages: tuple[Path, Path], detector: Path
) -> None:
    """Its rate is that of its own samples."""
    first, second = two_stages
    evaluation = read_evaluation(second)
    lines = {"result", "baseline", "baseline_one_step", "distilled"}
    assert set(evaluation.curves[0].lines) == lines
    info = inspect_model(first / "pipeline")
    denoiser = load(info)
    sampler, network = default_sampler(info, denoiser), load_classifier(detector)

    def rate(prompt: str, label: str, seeds: Sequence[int]) -> float:
        images = draw_images(denoiser, sampler, denoiser.encode([prompt] * len(seeds)), seeds)
        return float((network.probabilities(images)[:, LABELS.index(label)] > 0.4).mean())

    own = range(1000, 1010), range(1020, 1030)
    assert values(evaluation, "concept_rate")[2] == rate("a bag", "bag", own[0])
    assert values(evaluation, "kept_rate/neighbour/boot")[2] == rate("a boot", "boot", own[1])


def test_a_changed_file_of_groups_is_measured_again_and_the_same_one_is_not(
    two_stages: tuple[Path, Path], tmp_path: Path
) -> None:
    second = tmp_path / "copy"
    shutil.copytree(two_stages[1], second)
    before = read_evaluation(second)
    assert evaluate(second) == before
    recorded = json.loads((second / "record.json").read_text())["settings"]["concept"]
    file = tmp_path / "other.toml"
    file.write_text(Path(recorded["prompt_groups"]).read_text().replace("purse", "tote"))
    after = evaluate(second, changes=[f"concept.prompt_groups={str(file)!r}"])
    assert after.key != before.key and after.get("concept_rate/paraphrase/tote") is not None
    assert after.terms["prompt groups"] != before.terms["prompt groups"]


def test_a_page_shows_groups_without_their_prompts_and_what_every_curve_was_measured_with(
    two_stages: tuple[Path, Path],
) -> None:
    _, second = two_stages
    text = (second / "report.html").read_text()
    assert "Paraphrase: purse" in text and "Neighbour: boot" in text
    assert "a boot" not in text and "a purse" not in text
    page, curves = Page(second / "report.html"), read_evaluation(second).curves
    assert [curve.name for curve in curves] == ["threshold_curve", "group_threshold_curve"]
    for number, curve in enumerate(curves):
        facts = page.facts(f"run-1-how-curve-{number}")
        assert curve.extractor is not None and "bag above 0.4" in curve.extractor["name"]
        assert set(curve.extractor.values()) <= set(facts.values())


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
