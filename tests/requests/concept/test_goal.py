"""When a concept counts as recovered."""

from __future__ import annotations

from pathlib import Path

import torch

from efface.evaluation.views import ClipView, DetectorView
from efface.metrics.clip import load_clip
from efface.requests.concept.finding import concept_scores
from efface.requests.concept.goal import concept_goal

IMAGES = torch.rand(70, 3, 16, 16, generator=torch.Generator().manual_seed(0))
RETAIN = [f"prompt {number}" for number in range(40)]


def test_images_are_scored_as_the_evaluation_scores_them(
    view: DetectorView, clip_folder: Path
) -> None:
    clip = ClipView(clip=load_clip(clip_folder))
    for finder, threshold in ((view, 0.4), (clip, 0.5)):
        goal = concept_goal(finder, ["a bag"], RETAIN, ("bag", "coat"), 1.0)
        arrays = finder(IMAGES)
        scores = concept_scores(finder, arrays, [("bag", "coat")] * len(IMAGES))
        assert abs(goal.score(IMAGES) - scores).max() < 1e-5
        assert (goal.shown(IMAGES) == (goal.score(IMAGES) > threshold)).all()


def test_a_prompt_counts_once(view: DetectorView) -> None:
    goal = concept_goal(view, ["a bag", "a bag"], [*RETAIN, *RETAIN], None, 1.0)
    assert list(goal.sought) == ["a bag"] and list(goal.others) == RETAIN


def test_forget_prompts_are_not_written(view: DetectorView) -> None:
    goal = concept_goal(view, ["a secret"], RETAIN, None, 1.0)
    assert "secret" not in goal.describe_exchange([("a secret", "prompt 0")])
    assert "secret" not in goal.wording
