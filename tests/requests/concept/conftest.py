"""Requests about prompts on tiny real pipelines, with a detector and groups of prompts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.evaluation.views import DetectorView
from efface.metrics.detector import load_classifier
from efface.requests.concept.request import ForgetConcept
from efface.requests.distil.request import Distil
from efface.runs.evaluate import evaluate
from efface.runs.forget import forget
from efface.settings.base import Settings, read_settings
from tests.metrics.clips import make_clip
from tests.metrics.detectors import MULTI, make_brightness, make_random
from tests.tiny import SMALL

Pipelines = Callable[[str], Path]
GROUPS = """
[[groups]]
name = "purse"
kind = "paraphrase"
words = ["purse"]
[[groups]]
name = "boot"
kind = "neighbour"
prompts = ["a boot"]
labels = ["boot"]
"""


@pytest.fixture
def concept_settings() -> Callable[..., Settings]:
    """Settings of tiny runs, with changes."""

    def make(*changes: str) -> Settings:
        own = ForgetConcept.own
        return read_settings(ForgetConcept.section, own, changes=[*SMALL, *changes])

    return make


@pytest.fixture(scope="session")
def brightness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that measures brightness; it knows a bag, a coat and a boot."""
    return make_brightness(tmp_path_factory.mktemp("brightness"), MULTI)


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with random weights; it knows a bag, a coat and a boot."""
    return make_random(tmp_path_factory.mktemp("detector") / "network", MULTI, seed=4)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "tiny-clip")


@pytest.fixture(scope="session")
def view(detector: Path) -> DetectorView:
    return DetectorView(detector=load_classifier(detector), labels=("bag",), threshold=0.4)


@pytest.fixture(scope="session")
def detected(detector: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Changes to settings: a detector of bags, and prompt groups."""
    groups = tmp_path_factory.mktemp("groups") / "groups.toml"
    groups.write_text(GROUPS)
    return [
        f"evaluate.detector={str(detector)!r}",
        'evaluate.detector_labels=["bag"]',
        "evaluate.detector_threshold=0.4",
        f"concept.prompt_groups={str(groups)!r}",
        "concept.group_samples=10",
    ]


@pytest.fixture(scope="session")
def two_stages(
    pipelines: Pipelines, detected: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A distilled generator, and a detected run that began from it."""
    root = tmp_path_factory.mktemp("stages")
    (root / "retain.txt").write_text("a cat\na dog\n")
    request = Distil(retain_prompts=str(root / "retain.txt"))
    changes = [change for change in SMALL if not change.startswith("concept.")]
    first = forget(pipelines("sd"), request, root / "first", changes=changes, measure=False)
    bag = ForgetConcept(concept="bag", replacement="coat")
    changes = [*SMALL, *detected]
    return first, forget(pipelines("sd"), bag, root / "second", changes=changes, start=first)


@pytest.fixture(scope="session")
def measured_with_clip(
    concept_runs: Callable[[str], Path],
    clip_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run of a model that predicts v, measured with a CLIP."""
    out = tmp_path_factory.mktemp("clip") / "run"
    shutil.copytree(concept_runs("sd_v"), out)
    evaluate(out, changes=[f"evaluate.clip={str(clip_folder)!r}"])
    return out
