"""When a concept counts as recovered."""

from __future__ import annotations

from pathlib import Path

import torch

from efface.evaluation.views import ClipView, DetectorView
from efface.metrics.clip import load_clip
from efface.requests.concept.finding import ConceptGoal, Finder, find_finders

IMAGES = torch.rand(70, 3, 16, 16, generator=torch.Generator().manual_seed(0))
RETAIN = [f"prompt {number}" for number in range(40)]


def make_goal(finder: Finder) -> ConceptGoal:
    return ConceptGoal(
        sought=["a secret"],
        conditions=["a secret"],
        others=RETAIN,
        guidance=1.0,
        finder=lambda images: finder.scores(finder(images)),
        threshold=finder.threshold,
        called=finder.measured_with,
    )


def test_images_are_scored_as_the_evaluation_scores_them(
    view: DetectorView, clip_folder: Path
) -> None:
    views = {"detector": view, "clip": ClipView(clip=load_clip(clip_folder))}
    for finder in find_finders(views, ("bag", "coat")).values():
        goal, scores = make_goal(finder), finder.scores(finder(IMAGES))
        assert abs(goal.score(IMAGES) - scores).max() < 1e-5
        assert (goal.shown(IMAGES) == (goal.score(IMAGES) > finder.threshold)).all()


def test_forget_prompts_are_not_written(view: DetectorView) -> None:
    goal = make_goal(view)
    assert "secret" not in goal.describe_exchange([("a secret", "prompt 0")])
    assert "secret" not in goal.wording + goal.measured_with
