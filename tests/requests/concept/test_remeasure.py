"""Figures of prompts are measured again where their prompts and networks are here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from efface.cli import app
from efface.diffusion.model_folder import inspect_model
from efface.errors import DataError, RequestError
from efface.evidence.archive import read_archive
from efface.evidence.pack import pack
from efface.evidence.recorded import Claim, Given, NotHereError
from efface.evidence.remeasure import choose_results, remeasure
from efface.evidence.verify import verify
from efface.records import read_evaluation, read_record
from efface.requests.base import ForgetConcept
from tests.conftest import Pipelines
from tests.evidence.conftest import forget
from tests.evidence.test_verify import rewritten
from tests.metrics.detectors import MULTI, make_random
from tests.metrics.test_clip import folder  # noqa: F401  (a tiny CLIP with its tokenizer)
from tests.requests.concept.test_detected_runs import GROUPS as TWO_GROUPS

GROUPS = f"""{TWO_GROUPS}
[[groups]]
name = "coat"
kind = "neighbour"
prompts = ["a coat"]
labels = ["coat"]
"""
MEASURED = [
    "train.steps=2",
    "train.batch_size=4",
    "method.forget_share=0.5",
    'prompts.templates=["a {}"]',
    "evaluate.forget_samples=6",
    "evaluate.retain_samples=12",
    "evaluate.group_samples=5",
    "evaluate.baseline_steps=1",
    'evaluate.detector_labels=["bag"]',
    "evaluate.detector_threshold=0.72",
    "evaluate.reference=digits#0-49",
]


@pytest.fixture(scope="module")
def run(
    pipelines: Pipelines,
    folder: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run whose prompts and groups lie in files, seen by a detector, a CLIP and an extractor."""
    root = tmp_path_factory.mktemp("prompts")
    network = make_random(root / "network", MULTI, seed=4)
    (root / "groups.toml").write_text(GROUPS)
    (root / "stay.txt").write_text("a cat\na dog\na horse\n")
    settings = {
        "detector": network, "extractor": network, "clip": folder,
        "prompt_groups": root / "groups.toml",
    }  # fmt: skip
    changes = [*MEASURED, *(f"evaluate.{name}={str(path)!r}" for name, path in settings.items())]
    request = ForgetConcept(
        concept="bag", replacement="coat", retain_prompts=str(root / "stay.txt")
    )
    return forget(pipelines("sd"), request, root / "run", changes)


@pytest.fixture
def claims(run: Path) -> Callable[[str], list[Claim]]:
    record, evaluation = read_record(run), read_evaluation(run)
    info = inspect_model(run)

    def make(metric: str) -> list[Claim]:
        return [
            Claim(result=result, record=record, evaluation=evaluation, info=info, given=Given())
            for result in choose_results(record, evaluation, metric)
        ]

    return make


def told(claim: Claim, section: str, **values: Any) -> Claim:
    """The claim of a record that says other things in its request or in its settings."""
    record = claim.record
    if section == "request":
        changed: dict[str, Any] = {"request": record.request | values}
    else:
        changed = {"settings": record.settings | {section: record.settings[section] | values}}
    return replace(claim, record=record.model_copy(update=changed))


@pytest.mark.parametrize(
    ("metric", "networks"),
    [
        ("concept_rate", ["detector", "clip"]),
        ("concept_rate/paraphrase/purse", ["detector"]),
        ("kept_rate/neighbour/coat", ["detector"]),
        ("retained_accuracy", ["detector"]),
        ("clip_score", ["clip"]),
        ("clip_iqa", ["clip"]),
        ("fid", ["extractor"]),
    ],
)
def test_what_is_measured_again_of_prompts_is_the_recorded_value(claims, metric, networks):
    found = claims(metric)
    assert sorted(claim.network for claim in found) == sorted(networks)
    for claim in found:
        assert remeasure(claim).value == pytest.approx(claim.result.value, rel=1e-4)


def test_what_is_not_here_is_said_and_nothing_is_fetched(claims):
    detected = next(claim for claim in claims("concept_rate") if claim.network == "detector")
    (grouped,) = claims("kept_rate/neighbour/boot")
    (extracted,) = claims("fid")
    for claim, sentence in [
        (told(detected, "request", retain_prompts="gone.txt"), "prompts of gone.txt are not"),
        (told(detected, "request", retain_prompts="datasets:owner/name"), "owner/name are not"),
        (told(detected, "evaluate", detector="gone"), "detector gone is not on this machine"),
        (told(detected, "evaluate", detector="owner/gone"), "give it with --detector"),
        (told(detected, "evaluate", detector=None, detector_labels=[]), "does not say which"),
        (told(grouped, "evaluate", prompt_groups="gone.toml"), "groups of prompts of gone.toml"),
        (told(extracted, "evaluate", reference="datasets:owner/name"), "real pictures"),
        (told(extracted, "evaluate", extractor="gone"), "extractor gone is not"),
    ]:
        with pytest.raises(NotHereError, match=sentence):
            remeasure(claim)


def test_what_is_another_than_recorded_is_refused(claims, tmp_path):
    detected = next(claim for claim in claims("concept_rate") if claim.network == "detector")
    (grouped,) = claims("kept_rate/neighbour/boot")
    (tmp_path / "stay.txt").write_text("a bird\n")
    (tmp_path / "groups.toml").write_text(GROUPS.replace("a boot", "a shoe"))
    other = make_random(tmp_path / "other", MULTI, seed=5)
    with pytest.raises(RequestError, match="no longer hold its prompts"):
        remeasure(told(detected, "request", retain_prompts=str(tmp_path / "stay.txt")))
    with pytest.raises(RequestError, match="with other groups of prompts"):
        remeasure(told(grouped, "evaluate", prompt_groups=str(tmp_path / "groups.toml")))
    with pytest.raises(DataError, match="has the checksum"):
        remeasure(replace(detected, given=Given(detector=other)))
    with pytest.raises(RequestError, match="did not look for what the settings"):
        remeasure(told(detected, "evaluate", detector_threshold=0.1))
    with pytest.raises(DataError, match="out of templates"):
        remeasure(told(detected, "prompts", nonsense=0.999))


def test_a_verified_rate_is_told_and_a_made_up_one_is_found(run: Path, tmp_path: Path):
    pack([run], tmp_path / "evidence.zip")
    settings = read_record(run).settings["evaluate"]
    elsewhere = shutil.copytree(settings["detector"], tmp_path / "elsewhere")
    said = CliRunner().invoke(
        app,
        ["verify", str(tmp_path / "evidence.zip"), "--model", str(run / "pipeline")]
        + ["--detector", str(elsewhere)],
    )
    assert said.exit_code == 0, said.output
    assert "ok   concept_rate (network, bag above 0.72)" in said.output
    assert "ok   concept_rate (tiny-clip)" in said.output
    name = "run-1/evaluation.json"
    evaluation = json.loads(read_archive(tmp_path / "evidence.zip").files[name])
    for result in evaluation["results"]:
        if result["metric"] == "retained_accuracy":
            result |= {"value": 0.995, "low": 0.99, "high": 1.0}
    content = (json.dumps(evaluation, indent=2) + "\n").encode()
    forged = rewritten(tmp_path / "evidence.zip", tmp_path / "b.zip", True, **{name: content})
    found = verify(forged, run / "pipeline", "retained_accuracy")
    assert "outside the recorded interval" in found.checks[-1].text and not found.good
