from __future__ import annotations

import shutil
from pathlib import Path

import torch

from efface.evaluation.subjects import Compared, read_subjects
from efface.records import read_evaluation, read_record
from efface.requests.memorised.material import MemorisedGoal
from efface.requests.memorised.stages import read_prepared
from efface.runs.attack import attack
from efface.runs.recorded import read_run

SHORT = [
    "noise_search.samples=4",
    "noise_search.tries=[1, 2]",
    "noise_search.sampling_steps=2",
]


def test_a_run_is_attacked_by_its_prompt_and_its_image(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    found = attack(copy, ["noise_search"], changes=SHORT)
    (search,) = found.results
    share = read_evaluation(run).get("memorised_share")
    assert share is not None and "4 searches" in search.curve.protocol
    assert {"result", "baseline"} <= set(search.curve.lines)
    assert len(search.curve.lines["result"]) > 0
    assert "other_prompts" in search.curve.lines
    # What counts as a copy is what the evaluation counts: of the same number, any share of it.
    for result in found.results:
        for line in result.curve.lines.values():
            assert all(4 * p.value == round(4 * p.value) for p in line)


def test_a_goal_knows_copies_from_other_images(run: Path) -> None:
    recorded, record = read_run(run, (), "attack"), read_record(run)
    settings = recorded.settings
    compared = Compared(guidance=settings.evaluate.set_guidance, same_sampler=True)
    models = read_subjects(run, record, settings.evaluate, compared)
    goal = recorded.material.goal(run, models, settings, None)
    assert isinstance(goal, recorded.material.goal_class)
    detection, _ = read_prepared(run)
    assert isinstance(goal, MemorisedGoal) and list(goal.conditions) == ["a red bag"]
    negative = 1 - detection.reference
    shown = goal.shown(torch.stack([detection.reference, negative]))
    assert shown.tolist() == [True, False]
    assert "a red bag" not in goal.others
    examples = goal.originals(models.original.denoiser, 3, seed=0)
    assert len(examples) == 1 and examples.conditions == ["a red bag"]
