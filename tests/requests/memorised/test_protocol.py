from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from efface.diffusion.sampling import MultiStep
from efface.diffusion.text.denoiser import TextDenoiser
from efface.evaluation.sample_sets import Subject
from efface.requests.memorised.protocol import MODIFIED, ORIGINAL, MemorisedProtocol
from efface.requests.memorised.searching import GIVEN, UNCHANGED, Tried
from efface.requests.memorised.similarity import CopyDetector
from efface.requests.memorised.stages import Modified
from efface.settings.base import Settings


@pytest.fixture
def protocol(
    memorising: TextDenoiser,
    detector: CopyDetector,
    prompt: str,
    make_settings: Callable[..., Settings],
) -> MemorisedProtocol:
    tried = Tried(way=GIVEN, text="red cat", weight=None, norm=1.0, copies=1, images=2)
    condition = memorising.encode(["red cat"])
    return MemorisedProtocol(
        prompt=prompt,
        modified=Modified(tried=tried, condition=condition, count=1),
        controls=("blue cat", "old cup"),
        held_out=True,
        detector=detector,
        settings=make_settings(["memorised.samples=8", "memorised.noises=3"]),
    )


def test_a_prompt_that_needed_no_change_is_measured_once(
    protocol: MemorisedProtocol, memorising: TextDenoiser
) -> None:
    subject = Subject(denoiser=memorising, sampler=MultiStep(2))
    assert list(protocol.conditions(subject)) == [ORIGINAL, MODIFIED]
    unchanged = replace(protocol.modified, tried=replace(protocol.modified.tried, way=UNCHANGED))
    assert list(replace(protocol, modified=unchanged).conditions(subject)) == [ORIGINAL]


def test_samples_and_noises_have_the_seeds_of_the_evaluation(protocol: MemorisedProtocol) -> None:
    first = protocol.settings.evaluate.seed
    assert list(protocol.seeds) == list(range(first, first + 8))
    assert list(protocol.noises) == list(range(first, first + 3))


def test_terms_change_with_whatever_makes_figures_incomparable(
    protocol: MemorisedProtocol, memorising: TextDenoiser
) -> None:
    modified, detector = protocol.modified, protocol.detector
    other = replace(modified, condition=memorising.encode(["blue cat"]))
    changed = {
        "prompt": replace(protocol, prompt="red cup"),
        "modified prompt": replace(protocol, modified=other),
        "control prompts": replace(protocol, controls=("blue cat",)),
        "copy": replace(protocol, detector=replace(detector, threshold=0.8)),
        "memorised image": replace(
            protocol, detector=replace(detector, reference=1 - detector.reference)
        ),
        "noise draws": replace(
            protocol, settings=protocol.settings.changed({"memorised.noises": 4})
        ),
    }
    terms = protocol.terms()
    assert changed.keys() == terms.keys()
    for name, another in changed.items():
        assert {key for key, value in another.terms().items() if value != terms[key]} == {name}
    samples = protocol.settings.changed({"memorised.samples": 9, "evaluate.seed": 5})
    assert replace(protocol, settings=samples).terms() == terms  # which a figure itself names
