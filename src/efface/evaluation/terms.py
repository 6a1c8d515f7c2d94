"""On what terms figures were measured: two evaluations that differ in any have no row in common.

Not among them are what a figure itself names (its extractor, its number of samples) and seeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import digest_of_array
from efface.evaluation.views import View
from efface.requests.classes.evaluation import ClassProtocol
from efface.requests.concept.prompt_groups import digest_groups
from efface.requests.concept.protocol import ConceptProtocol
from efface.requests.images.feed import Pictures
from efface.requests.memorised.evaluation import MemorisedProtocol
from efface.settings.reading import EvaluateConfig

Terms = dict[str, str]
SHOWN = 12  # digits of a hash


def common_terms(untouched: Subject, views: Mapping[str, View]) -> Terms:
    terms = {"untouched model": untouched.sampler.describe()}
    real = {name: view.compared_with for name, view in views.items()}
    return terms | {f"real images of the {n}": _short(d) for n, d in real.items() if d is not None}


def label_terms(protocol: ClassProtocol) -> Terms:
    return {"forgotten labels": ", ".join(map(str, protocol.forgotten)) or "none"}


def picture_terms(pictures: Pictures, distance: float, config: EvaluateConfig) -> Terms:
    sets = {
        "pictures to forget": pictures.forget,
        "pictures that stay": pictures.retain,
        "pictures never seen": pictures.unseen,
    }
    arrays = {name: images.images.numpy() for name, images in sets.items() if images is not None}
    return {name: _short(digest_of_array(array)) for name, array in arrays.items()} | {
        "copy distance": f"{distance:.6g}",
        "noise draws": str(config.draws),
        "unseen pictures": f"{config.unseen} at most, {config.controls} of them denoised",
        "tolerance of the likelihood": f"{config.likelihood_tolerance:g}",
    }


def prompt_terms(protocol: ConceptProtocol) -> Terms:
    prompts, groups = protocol.prompts, protocol.groups
    return {
        "prompts to forget": _digest([prompts.forget, prompts.targets, protocol.phrases]),
        "prompts that stay": _digest(prompts.retain),
        "groups of prompts": _short(digest_groups(groups)) if groups else "none",
    }


def memorised_terms(protocol: MemorisedProtocol) -> Terms:
    modified = {k: t.numpy() for k, t in sorted(protocol.modified.condition.tensors.items())}
    return {
        "prompt": _digest(protocol.prompt),
        "modified prompt": _digest([digest_of_array(array) for array in modified.values()]),
        "control prompts": _digest(protocol.controls),
        "copy": f"{protocol.compared_by}, {protocol.detector.threshold:.6g}",
        "memorised picture": _short(digest_of_array(protocol.detector.reference.cpu().numpy())),
        "noises": str(len(protocol.noises)),
    }


def _digest(content: Sequence[Any]) -> str:
    return _short(hashlib.sha256(json.dumps(content).encode()).hexdigest())


def _short(digest: str) -> str:
    return digest[:SHOWN]
