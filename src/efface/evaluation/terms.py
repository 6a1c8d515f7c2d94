"""On what terms figures were measured: two evaluations that differ in any have no row in common.

Not among them are what a figure itself names (its extractor, its number of samples) and seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import digest_of_json
from efface.evaluation.views import View

Terms = dict[str, str]
SHOWN = 12  # digits of a hash


def common_terms(original: Subject, views: Mapping[str, View]) -> Terms:
    terms = {"original model": original.sampler.describe()}
    real = {name: view.compared_with for name, view in views.items()}
    return terms | {f"real images of the {n}": shorten(d) for n, d in real.items() if d is not None}


def digest_of(content: Any) -> str:
    """The first digits of the SHA-256 of anything that is JSON."""
    return shorten(digest_of_json(content))


def shorten(digest: str) -> str:
    return digest[:SHOWN]
