"""Whole runs with a detector, groups of prompts and the distilled generator beside the result."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import draw_images
from efface.errors import ConfigError, DataError, RequestError
from efface.evidence.pack import pack
from efface.evidence.verify import verify
from efface.metrics.detector import load_classifier
from efface.records import Evaluation, read_evaluation, read_record
from efface.reporting import judge_run, write_report
from efface.requests.base import DistilText, ForgetConcept
from efface.runs.compare import compare
from efface.runs.evaluate import evaluate
from efface.runs.forget import forget
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.metrics.detectors import LABELS, MULTI, make_random
from tests.reporting.test_page import Page

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


def test_the_page_says_what_every_curve_was_seen_with(runs: tuple[Path, Path]):
    _, second = runs
    page, curves = Page(second / "report.html"), read_evaluation(second).curves
    assert [curve.name for curve in curves] == ["threshold_curve", "group_threshold_curve"]
    for number, curve in enumerate(curves):
        facts = page.facts(f"run-1-how-curve-{number}")
        assert curve.extractor is not None and "bag above 0.4" in curve.extractor["name"]
        for key, value in curve.extractor.items():
            assert facts[f"seen with.{key}"] == value


def test_curves_of_an_earlier_version_are_shown_compared_and_verified(
    runs: tuple[Path, Path], tmp_path: Path
):
    """They say not what they were seen with."""
    old = Path(shutil.copytree(runs[1], tmp_path / "old"))
    content = json.loads((old / "evaluation.json").read_text())
    for curve in content["curves"]:
        assert curve.pop("extractor")["sha256"]
    (old / "evaluation.json").write_text(json.dumps(content))
    facts = Page(write_report([old], tmp_path / "page.html")).facts("run-1-how-curve-0")
    assert "protocol" in facts and "seen with.sha256" not in facts
    assert sum(len(base.entries) for base in compare([old, runs[0]])) == 2
    pack([old], tmp_path / "evidence.zip")
    found = verify(tmp_path / "evidence.zip", old / "pipeline", "none")
    assert found.good, found.differences


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


@pytest.fixture
def unfetched(monkeypatch: pytest.MonkeyPatch):
    """To fetch the weights of the model is an error."""
    refuse = lambda info: pytest.fail(f"the weights of {info.source} were fetched")  # noqa: E731
    monkeypatch.setattr("efface.runs.forget.fetch_weights", refuse)


@pytest.fixture(scope="module")
def broken(detected: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the detector that name their labels and cannot be loaded."""
    root, whole = tmp_path_factory.mktemp("broken"), detected[0].split("'")[1]
    truncated, unprepared = (
        Path(shutil.copytree(whole, root / name)) for name in ("truncated", "unprepared")
    )
    weights = truncated / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    (unprepared / "preprocessor_config.json").unlink()
    return root


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ('evaluate.detector_labels=["hat"]', ConfigError, "names 'hat', which the detector"),
        ('evaluate.prompt_groups="none.toml"', ConfigError, "no groups of prompts at none.toml"),
        ("evaluate.distilled={second}", RequestError, "is no finished run of `efface distil`"),
        ("evaluate.detector=none/here", DataError, "none/here is no local folder"),
        ("evaluate.detector={broken}/truncated", DataError, "truncated is no readable"),
        ("evaluate.detector={broken}/unprepared", DataError, "unprepared is no readable"),
    ],
)
@pytest.mark.usefixtures("unfetched")
def test_what_cannot_be_measured_is_refused_before_training(
    pipelines: Callable[[str], Path],
    runs: tuple[Path, Path],
    detected: list[str],
    broken: Path,
    tmp_path: Path,
    change: str,
    kind: type[Exception],
    sentence: str,
):
    """And before the weights of the model are fetched."""
    change = change.format(second=runs[1], broken=broken)
    with pytest.raises(kind, match=sentence):
        forget(pipelines("sd"), BAG, tmp_path / "out", changes=[*SMALL, *detected, change])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("installed", "sentence"),
    [(True, "nudenet has the checksum"), (False, "NudeNet needs the extra 'safety'")],
)
@pytest.mark.usefixtures("unfetched")
def test_a_nudenet_that_cannot_look_is_refused_before_training(
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installed: bool,
    sentence: str,
):
    """Of the package it is only the file of weights that is read before it is known by its name."""
    monkeypatch.setitem(sys.modules, "nudenet", None)
    if installed:
        (tmp_path / "nudenet").mkdir()
        (tmp_path / "nudenet" / "__init__.py").touch()
        (tmp_path / "nudenet" / "320n.onnx").write_bytes(b"other weights")
        monkeypatch.delitem(sys.modules, "nudenet")
        monkeypatch.syspath_prepend(tmp_path)
    changes = [*SMALL, "evaluate.detector=nudenet", f"evaluate.detector_sha256={'0' * 64!r}"]
    with pytest.raises(DataError, match=sentence):
        forget(pipelines("sd"), BAG, tmp_path / "out", changes=changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("unfetched")
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
