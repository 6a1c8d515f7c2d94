"""A judge of three labels with random weights, and features of six real images."""

from __future__ import annotations

import numpy as np

from efface.evaluation.views import JudgeView
from efface.metrics.judge import Judge, ResidualClassifier


def judge_view() -> JudgeView:
    judge = Judge(
        classifier=ResidualClassifier(1, (4,), 3).eval(),
        reference=np.random.default_rng(0).normal(size=(6, 2)),
        reference_labels=np.array([0, 1, 2, 0, 1, 2]),
        config={},
        name="tiny judge",
        digest="1" * 64,
        reference_digest="2" * 64,
    )
    return JudgeView(judge=judge)
