"""Whole runs with a detector, groups of prompts and the distilled generator beside the result."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import draw_images
from efface.errors import ConfigError, RequestError
from efface.evaluating import evaluate
from efface.evidence.pack import pack
from efface.evidence.verify import verify
from efface.metrics.detector import load_classifier
from efface.records import Evaluation, read_evaluation, read_record
from efface.reporting import judge_run
from efface.requests import DistilText, ForgetConcept
from efface.runs import forget
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.metrics.detectors import LABELS, MULTI, make_random

BAG = ForgetConcept(concept="bag", replacement="coat")
SMALL = [
    "train.steps=2",
    "train.batch_size=4",
    "train.learning_rate=1e-3",
    "method.forget_share=0.5",
    'prompts.templates=["a {}"]',
    'prompts.subjects=["cat"]',
    "evaluate.forget_samples=6",
    "evaluate.retain_samples=4",
    "evaluate.group_samples=5",
    "evaluate.baseline_steps=1",
]
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


@pytest.fixture(scope="module")
def detected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("looked")
    make_random(root / "detector", MULTI, seed=4)
    (root / "groups.toml").write_text(GROUPS)
    return [
        f"evaluate.detector={str(root / 'detector')!r}",
        'evaluate.detector_labels=["bag"]',
        "evaluate.detector_threshold=0.4",
        f"evaluate.prompt_groups={str(root / 'groups.toml')!r}",
    ]


@pytest.fixture(scope="module")
def runs(
    pipelines: Callable[[str], Path],
    detected: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """A distilled generator, and a run that began from it."""
    root = tmp_path_factory.mktemp("runs")
    changes = [*SMALL, *detected]
    first = forget(pipelines("sd"), DistilText(), root / "first", changes=changes)
    return first, forget(pipelines("sd"), BAG, root / "second", changes=changes, start=first)


def values(evaluation: Evaluation, metric: str) -> list[float]:
    result = evaluation.get(metric)
    assert result is not None and result.distilled is not None
    assert result.baseline_one_step is not None
    return [result.value, result.baseline.value, result.distilled.value]


def test_the_generator_that_a_run_began_from_stands_beside_it(runs: tuple[Path, Path]):
    first, second = runs
    assert read_record(second).settings["evaluate"]["distilled"] == str(first)
    alone, beside = read_evaluation(first), read_evaluation(second)
    for metric in ("concept_rate/paraphrase/purse", "kept_rate/neighbour/boot"):
        own = alone.get(metric)
        assert own is not None
        assert values(beside, metric)[1:] == [own.baseline.value, own.value]
    assert set(beside.curves[0].lines) == {"result", "baseline", "baseline_one_step", "distilled"}


def test_its_rate_is_that_of_its_own_pictures(runs: tuple[Path, Path], detected: list[str]):
    first, second = runs
    info = inspect_model(first / "pipeline")
    denoiser = load(info)
    condition = denoiser.encode(["a bag"] * 6)
    images = draw_images(denoiser, default_sampler(info, denoiser), condition, range(1000, 1006))
    detector = load_classifier(detected[0].split("'")[1])
    hits = detector.probabilities(images)[:, LABELS.index("bag")] > 0.4
    assert values(read_evaluation(second), "concept_rate")[2] == hits.mean()


def test_the_page_shows_groups_and_says_what_looked(runs: tuple[Path, Path]):
    _, second = runs
    page = (second / "report.html").read_text()
    for words in ("Paraphrase: purse", "Neighbour: boot", "Neighbours kept", "Distilled",
                  "nothing forgotten", "How often other prompts bring it back",
                  "A detector looked for it", "A detector is a network too"):  # fmt: skip
        assert words in page, words
    assert "a boot" not in page  # prompts of groups are not written out
    verdict = judge_run(read_record(second), read_evaluation(second))
    assert verdict.kept != "unmeasured"


def test_a_changed_file_of_groups_is_measured_again_and_the_same_one_is_not(
    runs: tuple[Path, Path], detected: list[str], tmp_path: Path
):
    second = tmp_path / "copy"
    shutil.copytree(runs[1], second)
    before = read_evaluation(second)
    assert evaluate(second) == before
    file = tmp_path / "other.toml"
    file.write_text(GROUPS.replace("purse", "tote"))
    changed = [f"evaluate.prompt_groups={str(file)!r}", "evaluate.distilled=none"]
    after = evaluate(second, changes=changed)
    assert after.key != before.key and after.get("concept_rate/paraphrase/tote") is not None
    assert all(result.distilled is None for result in after.results)


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ('evaluate.detector_labels=["hat"]', ConfigError, "names 'hat', which the detector"),
        ('evaluate.prompt_groups="none.toml"', ConfigError, "no groups of prompts at none.toml"),
        ("evaluate.distilled={second}", RequestError, "is no finished run of `efface distil`"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(
    pipelines: Callable[[str], Path],
    runs: tuple[Path, Path],
    detected: list[str],
    tmp_path: Path,
    change: str,
    kind: type[Exception],
    sentence: str,
):
    change = change.replace("{second}", repr(str(runs[1])))
    with pytest.raises(kind, match=sentence):
        forget(pipelines("sd"), BAG, tmp_path / "out", changes=[*SMALL, *detected, change])
    assert not (tmp_path / "out").exists()


def test_a_measured_prompt_that_is_too_long_is_refused_before_training(
    pipelines: Callable[[str], Path], detected: list[str], tmp_path: Path
):
    file = tmp_path / "long.toml"
    file.write_text(GROUPS.replace("a boot", "a boot " * 20))
    changes = [*SMALL, *detected, f"evaluate.prompt_groups={str(file)!r}"]
    with pytest.raises(RequestError, match="shorten it"):
        forget(pipelines("sd"), BAG, tmp_path / "out", changes=changes)
    assert not (tmp_path / "out").exists()


def test_a_generator_of_another_model_is_refused(
    pipelines: Callable[[str], Path], runs: tuple[Path, Path], tmp_path: Path
):
    beside = f"evaluate.distilled={str(runs[0])!r}"
    with pytest.raises(RequestError, match="was distilled from another model"):
        forget(pipelines("sd_bert"), BAG, tmp_path / "out", changes=[*SMALL, beside])


def test_a_pack_of_a_text_run_is_whole_and_its_card_says_what_it_makes(
    runs: tuple[Path, Path], tmp_path: Path
):
    """Its rate is measured again with the detector that the record names."""
    pack([runs[1]], tmp_path / "evidence.zip")
    found = verify(tmp_path / "evidence.zip", runs[1] / "pipeline")
    assert found.good, found.differences
    assert found.checks[-1].subject == "concept_rate"
    assert "inside the recorded interval" in found.checks[-1].text
    card = (runs[1] / "pipeline" / "README.md").read_text()
    assert "pipeline_tag: text-to-image" in card
