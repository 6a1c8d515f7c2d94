"""A forgotten class is shown where the classifier sees one of its labels."""

from __future__ import annotations

import numpy as np
import torch

from efface.metrics.judge import load_judge
from efface.requests.classes.material import ClassGoal


def test_an_image_shows_what_the_classifier_sees_in_it(tiny_model):
    judge = load_judge(tiny_model / "judge")
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    probabilities = judge.observe(images, np.zeros(6, dtype=int)).probabilities
    goal = ClassGoal(judge=judge, sought=[2, 5], conditions=[2, 5], others=[0, 1])
    assert goal.shown(images).tolist() == np.isin(probabilities.argmax(1), [2, 5]).tolist()
    np.testing.assert_allclose(goal.score(images), probabilities[:, [2, 5]].max(1))
