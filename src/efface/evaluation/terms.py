"""On what terms figures were measured: two evaluations that differ in any have no row in common.

Not among them are what a figure itself names (its extractor, its number of samples) and seeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import digest_of_array
from efface.evaluation.views import View
from efface.requests.classes.evaluation import ClassProtocol
from efface.requests.images.feed import Pictures
from efface.requests.memorised.evaluation import MemorisedProtocol
from efface.settings.reading import EvaluateConfig

Terms = dict[str, str]
SHOWN = 12  # digits of a hash


def common_terms(untouched: Subject, views: Mapping[str, View]) -> Terms:
    terms = {"untouched model": untouched.sampler.describe()}
    real = {name: view.compared_with for name, view in views.items()}
    return terms | {f"real images of the {n}": shorten(d) for n, d in real.items() if d is not None}


def label_terms(protocol: ClassProtocol) -> Terms:
    return {"forgotten labels": ", ".join(map(str, protocol.forgotten)) or "none"}


def picture_terms(pictures: Pictures, distance: float, config: EvaluateConfig) -> Terms:
    sets = {
        "pictures to forget": pictures.forget,
        "pictures that stay": pictures.retain,
        "pictures never seen": pictures.unseen,
    }
    arrays = {name: images.images.numpy() for name, images in sets.items() if images is not None}
    return {name: shorten(digest_of_array(array)) for name, array in arrays.items()} | {
        "copy distance": f"{distance:.6g}",
        "noise draws": str(config.draws),
        "unseen pictures": f"{config.unseen} at most, {config.controls} of them denoised",
        "tolerance of the likelihood": f"{config.likelihood_tolerance:g}",
    }


def memorised_terms(protocol: MemorisedProtocol) -> Terms:
    modified = {k: t.numpy() for k, t in sorted(protocol.modified.condition.tensors.items())}
    return {
        "prompt": digest_of(protocol.prompt),
        "modified prompt": digest_of([digest_of_array(array) for array in modified.values()]),
        "control prompts": digest_of(protocol.controls),
        "copy": f"{protocol.compared_by}, {protocol.detector.threshold:.6g}",
        "memorised picture": shorten(digest_of_array(protocol.detector.reference.cpu().numpy())),
        "noises": str(len(protocol.noises)),
    }


def digest_of(content: Any) -> str:
    """The first digits of the SHA-256 of anything that is JSON."""
    return shorten(hashlib.sha256(json.dumps(content).encode()).hexdigest())


def shorten(digest: str) -> str:
    return digest[:SHOWN]
