from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from efface.requests.memorised.protocol import MODIFIED, ORIGINAL, MemorisedProtocol
from efface.requests.memorised.similarity import CopyDetector
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
        prompt=prompt,
        modified="red cat",
        controls=("blue cat", "old cup"),
        held_out=True,
        detector=detector,
    )


def test_a_prompt_that_needed_no_change_is_measured_once(protocol: MemorisedProtocol) -> None:
    assert list(protocol.prompts) == [ORIGINAL, MODIFIED]
    assert list(replace(protocol, modified=protocol.prompt).prompts) == [ORIGINAL]


def test_samples_have_the_seeds_of_the_evaluation(protocol: MemorisedProtocol) -> None:
    first = protocol.config.seed
    assert list(protocol.seeds) == list(range(first, first + 12))


def test_terms_change_with_whatever_makes_figures_incomparable(
    protocol: MemorisedProtocol,
) -> None:
    detector = protocol.detector
    changed = {
        "prompt": replace(protocol, prompt="red cup"),
        "modified prompt": replace(protocol, modified="blue cat"),
        "control prompts": replace(protocol, controls=("blue cat",)),
        "copy": replace(protocol, detector=replace(detector, threshold=0.8)),
        "memorised image": replace(
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
