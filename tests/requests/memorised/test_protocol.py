from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from efface.requests.memorised.captions import MODIFIED, ORIGINAL, Sought
from efface.requests.memorised.protocol import MemorisedProtocol
from efface.requests.memorised.similarity import SIMILARITY, CopyDetector
from efface.settings.base import Settings


@pytest.fixture
def protocol(
    detector: CopyDetector,
    prompt: str,
    make_settings: Callable[..., Settings],
) -> MemorisedProtocol:
    settings = make_settings(["evaluate.forget_samples=12"])
    return MemorisedProtocol(
        views={},
        config=settings.evaluate,
        captions=[Sought(prompt=prompt, modified="red cat", detector=detector)],
        controls=("blue cat", "old cup"),
        held_out=True,
    )


def with_caption(protocol: MemorisedProtocol, **changes: Any) -> MemorisedProtocol:
    (caption,) = protocol.captions
    return replace(protocol, captions=[replace(caption, **changes)])


def test_a_prompt_that_needed_no_change_is_measured_once(protocol: MemorisedProtocol) -> None:
    (caption,) = protocol.captions
    assert list(caption.prompts) == list(protocol.samples())[:2] == [ORIGINAL, MODIFIED]
    same = with_caption(protocol, modified=caption.prompt)
    assert list(same.samples())[0] == ORIGINAL and MODIFIED not in same.samples()


def test_several_captions_have_samples_and_figures_of_their_own(
    protocol: MemorisedProtocol,
) -> None:
    """The second needed no other prompt; of the first 3 of 12 are copies, of the second 6."""
    (caption,) = protocol.captions
    other = replace(caption, prompt="old hat", modified="old hat")
    both = replace(protocol, captions=[caption, other])
    assert list(both.samples())[:3] == ["1", "1_modified", "2"]
    counts = {"1": 3, "1_modified": 0, "2": 6}
    seen: Any = {
        model: {
            name: {SIMILARITY: {SIMILARITY: np.where(np.arange(12) < count, 0.95, 0.1)}}
            for name, count in counts.items()
        }
        for model in ("result", "baseline")
    }
    found = both._results(ORIGINAL, seen, "sampled") + both._results(MODIFIED, seen, "sampled")
    shares = {r.metric: (round(r.value * r.samples), r.samples) for r in found if r.value <= 0.5}
    assert shares == {
        "memorised_share": (9, 24),
        "reference_similarity": shares["reference_similarity"],
        "memorised_share/1": (3, 12),
        "memorised_share/2": (6, 12),
        "memorised_share_modified": (0, 12),
        "reference_similarity_modified": shares["reference_similarity_modified"],
        "memorised_share_modified/1": (0, 12),
    }
    assert all(r.spec.role == "primary" for r in found if r.metric.startswith("memorised_share/"))
    assert [both._curve(n, c, seen, "").name for n, c in enumerate(both.captions, start=1)] == [
        "similarity_curve/1",
        "similarity_curve/2",
    ]
    own = both.terms()
    assert own.keys() == protocol.terms().keys()
    assert all(
        own[name] != value for name, value in protocol.terms().items() if "control" not in name
    )


def test_samples_have_the_seeds_of_the_evaluation(protocol: MemorisedProtocol) -> None:
    first = protocol.config.seed
    assert list(protocol.seeds) == list(range(first, first + 12))


def test_terms_change_with_whatever_makes_figures_incomparable(
    protocol: MemorisedProtocol,
) -> None:
    detector = protocol.captions[0].detector
    changed = {
        "prompt": with_caption(protocol, prompt="red cup"),
        "modified prompt": with_caption(protocol, modified="blue cat"),
        "control prompts": replace(protocol, controls=("blue cat",)),
        "copy": with_caption(protocol, detector=replace(detector, threshold=0.8)),
        "memorised image": with_caption(
            protocol, detector=replace(detector, reference=1 - detector.reference)
        ),
    }
    terms = protocol.terms()
    assert changed.keys() == terms.keys()
    for name, another in changed.items():
        assert {key for key, value in another.terms().items() if value != terms[key]} == {name}
    config = protocol.config.model_copy(update={"seed": 5, "forget_samples": 13})
    other = replace(protocol, config=config)
    assert other.terms() == terms  # which a figure itself names
