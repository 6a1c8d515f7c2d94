"""Which of several texts a CLIP takes an image for, against a loop over images."""

from __future__ import annotations

import numpy as np
import pytest

from efface.metrics.clip_contrast import detector_scores
from efface.metrics.clip_iqa import prompt_quality
from tests.metrics.clips import images

CONTRASTS = [("a bag", "a coat", "a cat"), ("a coat", "a bag", "a bag"), ("a", "b", "c")]


def test_a_score_is_the_share_of_the_first_text_in_the_softmax(clip):
    embedded = clip.embed_images(images(3))
    found = detector_scores(clip, embedded, CONTRASTS)
    for image, texts, score in zip(embedded, CONTRASTS, found, strict=True):
        odds = np.exp([clip.temperature * float(image @ clip.embed_prompts([t])[0]) for t in texts])
        assert score == pytest.approx(odds[0] / odds.sum(), rel=1e-4)
    assert np.ptp(found) > 0.01


def test_equal_contrasts_are_those_of_a_single_question(clip):
    embedded = clip.embed_images(images())
    found = detector_scores(clip, embedded, [("good", "bad")] * 5)
    np.testing.assert_allclose(found, prompt_quality(clip, embedded, ("good", "bad")), rtol=1e-5)
