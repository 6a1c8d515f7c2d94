"""The terms of a measurement: what differs in any has no row in common."""

from __future__ import annotations

import hashlib
import json

from efface.diffusion.sampling import MultiStep
from efface.evaluation.protocol import common_terms, digest_of
from efface.evaluation.sample_sets import Subject
from efface.evaluation.views import ClipView
from efface.metrics.clip import Clip
from tests.evaluation.judges import judge_view
from tests.tiny import make_tiny_unet


def test_terms_name_the_sampler_and_the_real_images_of_those_who_compare():
    subject = Subject(denoiser=make_tiny_unet(), sampler=MultiStep(7))
    clip = Clip(name="", sha256="3" * 64, network=None, processor=None, tokenizer=None)
    views = {"judge": judge_view(), "clip": ClipView(clip=clip)}
    assert common_terms(subject, views) == {
        "original model": MultiStep(7).describe(),
        "real images of the judge": "2" * 12,
    }


def test_a_digest_is_the_beginning_of_that_of_the_json():
    content = [{"words": "café"}, 1.5, None]
    whole = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    assert digest_of(content) == whole[:12]
    assert digest_of(["a", "b"]) != digest_of(["ab"])
