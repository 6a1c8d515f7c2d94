from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator
from PIL import Image

from efface.diffusion.loading import load
from efface.diffusion.sampling import draw_images
from efface.errors import ConfigError, RequestError
from efface.metrics.intervals import bounded_mean
from efface.records import read_evaluation, read_record
from efface.requests.memorised.protocol import SHARE
from efface.requests.memorised.sampling import prompt_sampler
from efface.requests.memorised.stages import read_prepared
from efface.runs.evaluate import evaluate
from efface.runs.recorded import read_run
from efface.settings.base import Settings
from tests.counting import assert_drawn_once
from tests.text_pipelines import load_text

RECIPES = Path(__file__).parents[3] / "recipes"


def test_both_prompts_are_measured_for_the_result_and_the_original_model(run: Path) -> None:
    evaluation = read_evaluation(run)
    expected = ("memorised_share", "reference_similarity", "prompt_clip_iqa")
    names = [result.metric for result in evaluation.results]
    assert names[:6] == [*expected, *(f"{name}_modified" for name in expected)]
    assert set(names[6:]) == {"clip_iqa", "clip_score"}
    for result in evaluation.results:
        assert result.low <= result.value <= result.high
        assert result.baseline.low <= result.baseline.value <= result.baseline.high
    assert {"prompt", "memorised image", "copy", "control prompts"} <= evaluation.terms.keys()
    share = evaluation.results[0]
    assert share.samples == 10 and share.value * 10 == pytest.approx(round(share.value * 10))
    (curve,) = evaluation.curves
    assert set(curve.lines) == {"result", "baseline", "result_modified", "baseline_modified"}
    (at,) = (p for p in curve.lines["result"] if p.x == 0.25)  # what counts as a copy in these runs
    assert at.value == share.value


def test_the_search_has_a_number_of_samples_of_its_own(run: Path) -> None:
    record, evaluation = read_record(run), read_evaluation(run)
    assert record.notes["samples_before"] == record.settings["memorised"]["samples"] == 4
    assert {r.samples for r in evaluation.results if r.spec.name.startswith("memorised_share")} == {
        record.settings["evaluate"]["forget_samples"]
    }


@pytest.mark.parametrize("recipe", [None, "memorised-siss", RECIPES / "scenes-siss.toml"])
def test_a_prompt_without_copies_can_be_called_forgotten(
    make_settings: Callable[..., Settings], recipe: str | Path | None
) -> None:
    """As many samples as a recipe has: the interval of 0 copies lies within the margin."""
    count = make_settings(recipe=recipe).evaluate.forget_samples
    assert SHARE.margin is not None
    assert bounded_mean(np.zeros(count)).high <= SHARE.margin.value


def test_the_share_is_that_of_images_sampled_by_hand(
    run: Path,
    pipelines: Callable[[str], Path],
    small: tuple[str, ...],
    make_settings: Callable[..., Settings],
) -> None:
    """The figure of the original model, from its own samples of the same seeds."""
    denoiser = load_text(pipelines("sd"))
    sampler = prompt_sampler(denoiser, make_settings(small)).sampler
    condition = denoiser.encode(["a red bag"] * 10)
    images = draw_images(denoiser, sampler, condition, range(1000, 1010), batch_size=3)
    detection, _ = read_prepared(run)
    found = [
        np.corrcoef(image.flatten().numpy(), detection.reference.flatten().numpy())[0, 1]
        for image in images
    ]
    results = {r.metric: r for r in read_evaluation(run).results}
    assert results["reference_similarity"].baseline.value == pytest.approx(np.mean(found), abs=2e-3)
    share = np.mean(np.array(found) >= 0.25)
    assert results["memorised_share"].baseline.value == pytest.approx(share)


def test_sheets_show_both_prompts_and_control_prompts(run: Path) -> None:
    grid = json.loads((run / "samples" / "grid.json").read_text())
    assert grid["names"][:2] == ["'a red bag'", "'a bag'"] and grid["forgotten"] == [0, 1]
    with Image.open(run / "samples" / "after.png") as sheet:
        assert sheet.size == (8 * 16, len(grid["names"]) * 16)


def test_a_run_is_sampled_once_for_all_that_measure(run: Path, clip: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    assert_drawn_once(out, [clip])


def test_settings_of_an_evaluation_of_concepts_are_refused(run: Path) -> None:
    detected = ["evaluate.detector=nowhere", 'evaluate.detector_labels=["bag"]']
    with pytest.raises(ConfigError, match="detector"):
        evaluate(run, changes=detected)


def test_another_extractor_than_the_threshold_is_for_is_refused(
    run: Path, clip_folder: Path
) -> None:
    with pytest.raises(RequestError, match=r"correlation of pixels.*memorised\.extractor"):
        evaluate(run, changes=[f"memorised.extractor={str(clip_folder)!r}"])


def test_a_run_whose_control_prompts_changed_is_not_measured(
    run: Path, controls: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    record = json.loads((out / "record.json").read_text())
    others = tmp_path / "others.txt"
    others.write_text(Path(controls).read_text().replace("hot cat", "hot cats"))
    record["request"]["control_prompts"] = str(others)
    (out / "record.json").write_text(json.dumps(record))
    with pytest.raises(RequestError, match="restore"):
        evaluate(out)


def test_a_resumed_run_encodes_what_its_evaluation_asks_for(run: Path, tmp_path: Path) -> None:
    """The modified prompt is read from the preparation, and not encoded for it again."""
    again = Path(shutil.copytree(run, tmp_path / "run"))
    recorded = read_run(again, [], "evaluate")
    model = load(recorded.info)
    feed = recorded.material.feed(model, recorded.settings, again, Accelerator())
    assert recorded.request.modified_prompt == "a bag"
    feed.denoiser.encode(["a bag"])  # without text encoders
