"""The rate of a concept: scores above a threshold, counted."""

from __future__ import annotations

import numpy as np

from efface.metrics.base import Observations
from efface.metrics.concept_rate import concept_rate, rate_above
from efface.metrics.intervals import proportion
from tests.metrics.ends import ends, measure

SCORES = np.array([0.1, 0.5, 0.51, 0.9, 0.3])


def test_scores_above_the_threshold_count_and_those_at_it_do_not():
    assert ends(rate_above(SCORES, 0.5)) == ends(proportion(2, 5))
    assert ends(rate_above(SCORES, 0.3)) == ends(proportion(3, 5))


def test_the_metric_reads_the_score_that_was_observed():
    observed = Observations(
        asked=np.zeros(5), probabilities=SCORES[:, None], features=np.zeros((5, 0))
    )
    for threshold in (0.0, 0.5, 0.95):
        estimate = measure(concept_rate(threshold), observed, [0], None)
        assert estimate == rate_above(SCORES, threshold)
