"""What a run about a memorised picture claims is measured again out of its pack."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from typer.testing import CliRunner

import efface
from efface.cli import app
from efface.data.prompts import spread
from efface.diffusion.denoiser import Condition
from efface.diffusion.model_folder import inspect_model
from efface.errors import DataError, RequestError
from efface.evidence.archive import read_archive
from efface.evidence.manifest import Preparation, parse_record
from efface.evidence.pack import PREPARED, pack
from efface.evidence.preparation import RECORD, TENSORS, find_preparation
from efface.evidence.recorded import Claim, Given, NotHereError
from efface.evidence.remeasure import remeasure
from efface.evidence.verify import verify
from efface.records import read_evaluation, read_record
from efface.requests.memorised.feed import MemorisedInputs
from efface.requests.memorised.stages import read_prepared
from tests.conftest import Pipelines
from tests.evidence.conftest import forget
from tests.evidence.test_verify import changed, flipped, rewritten, subjects
from tests.metrics.detectors import MULTI, make_random
from tests.metrics.test_clip import folder  # noqa: F401  (a tiny CLIP with its tokenizer)
from tests.requests.concept.test_remeasure import told
from tests.requests.memorised.conftest import WORDS
from tests.requests.memorised.test_runs import LOOSE, SMALL

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
OWN = ("memorised_share", "reference_similarity", "text_noise_norm", "prompt_clip_iqa")
OF_CONTROLS = {"clip_score", "clip_iqa", "fid", "kid", "precision", "recall"}
FILES = [f"run-1/{name}" for name in (RECORD, TENSORS)]


@pytest.fixture(scope="module")
def run(
    pipelines: Pipelines,
    folder: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run that a CLIP and an extractor looked at; its control prompts lie in a file."""
    root = tmp_path_factory.mktemp("memorised")
    network = make_random(root / "network", MULTI, seed=4)
    (root / "controls.txt").write_text("\n".join(WORDS))
    settings = {"clip": str(folder), "extractor": str(network), "reference": "digits#0-49"}
    changes = [f"evaluate.{name}={value!r}" for name, value in settings.items()]
    request = LOOSE.model_copy(update={"control_prompts": str(root / "controls.txt")})
    changes = [*SMALL, "evaluate.retain_samples=12", *changes]
    return forget(pipelines("sd"), request, root / "run", changes)


@pytest.fixture(scope="module")
def packed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packs") / "evidence.zip"
    pack([run], out)
    return out


@pytest.fixture
def claims(run: Path, packed: Path) -> Callable[..., list[Claim]]:
    prepared = find_preparation(read_archive(packed).files, "run-1")

    def make(*metrics: str, model: Path = run) -> list[Claim]:
        record, evaluation = read_record(run), read_evaluation(run)
        return [
            Claim(
                result=result,
                record=record,
                evaluation=evaluation,
                info=inspect_model(model),
                given=Given(),
                prepared=prepared,
            )
            for result in evaluation.results
            if not metrics or result.metric in metrics
        ]

    return make


def with_tensors(packed: Path, out: Path, **tensors: Tensor) -> Path:
    """The pack with other tensors, and a manifest that fits them."""
    found = load(read_archive(packed).files[FILES[1]])
    return rewritten(packed, out, True, **{FILES[1]: save(found | tensors)})


def test_every_figure_measured_again_is_the_recorded_value(claims):
    found = claims()
    names = {claim.result.metric for claim in found}
    assert names >= {*OWN, *(f"{name}_modified" for name in OWN), *OF_CONTROLS}
    for claim in found:
        again, metric = remeasure(claim), claim.result.metric
        assert again.value == pytest.approx(claim.result.value, rel=1e-4), metric
        assert again.low == pytest.approx(claim.result.low, rel=1e-4, abs=1e-6), metric


def test_of_the_model_that_forgot_nothing_the_figures_are_its_own(claims, pipelines):
    """All models are drawn alike, so that these are what the evaluation set beside them."""
    found = claims(*OWN, *(f"{name}_modified" for name in OWN), model=pipelines("sd"))
    assert len(found) == 2 * len(OWN)
    for claim in found:
        again = remeasure(claim).value
        assert again == pytest.approx(claim.result.baseline.value, rel=1e-4), claim.result.metric
    norm = next(claim for claim in found if claim.result.metric == "text_noise_norm")
    assert remeasure(norm).value != pytest.approx(norm.result.value, rel=1e-4)


def test_a_pack_is_verified_with_its_model_and_refused_with_the_untouched_one(
    run, packed, pipelines
):
    def told_of(model: Path, metric: str) -> Any:
        arguments = ["verify", str(packed), "--model", str(model), "--metric", metric]
        return CliRunner().invoke(app, arguments)

    for metric in ("memorised_share", "text_noise_norm_modified"):
        said = told_of(run / "pipeline", metric)
        assert said.exit_code == 0, said.output
        assert f"ok   {metric}: " in said.output and "--" not in said.output
    said = told_of(pipelines("sd"), "memorised_share")
    assert said.exit_code == 1
    assert f"BAD  {WEIGHTS}: its SHA-256 is" in said.output
    assert "BAD  figures: not measured again: this is another model" in said.output


def test_a_made_up_figure_of_a_memorised_picture_is_found(run, packed, tmp_path):
    name = "run-1/evaluation.json"
    evaluation = json.loads(read_archive(packed).files[name])
    for result in evaluation["results"]:
        if result["metric"] == "text_noise_norm":
            result |= {"value": 1e-3, "low": 0.0, "high": 2e-3}
    content = (json.dumps(evaluation, indent=2) + "\n").encode()
    forged = rewritten(packed, tmp_path / "a.zip", True, **{name: content})
    found = verify(forged, run / "pipeline", "text_noise_norm")
    assert "outside the recorded interval" in found.checks[-1].text and not found.good
    assert found.checks[-1].subject == "text_noise_norm"


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_of_the_preparation_is_named(run, packed, tmp_path, name):
    whole, content = packed.read_bytes(), read_archive(packed).files[name]
    at = len(content) // 2
    (tmp_path / "a.zip").write_bytes(flipped(whole, whole.index(content) + at))
    assert name in subjects(verify(tmp_path / "a.zip", run / "pipeline", "none"))
    anew = rewritten(packed, tmp_path / "b.zip", False, **{name: flipped(content, at)})
    assert name in subjects(verify(anew, run / "pipeline", "none"))


def test_a_pack_of_an_older_version_verifies_and_says_what_it_lacks(run, packed, tmp_path):
    lacking = dict.fromkeys([*FILES, "schemas/preparation.json"])
    old = rewritten(packed, tmp_path / "a.zip", True, **lacking)
    found = verify(old, run / "pipeline")
    assert found.good, found.differences
    last = found.checks[-1]
    assert (last.subject, last.looked) == ("memorised_share", False)
    assert "what the run was prepared with" in last.text and "holds none of it" in last.text


def test_a_pack_holds_of_the_preparation_what_is_needed_and_no_more(run, packed, tmp_path):
    files = read_archive(packed).files
    record = parse_record(Preparation, files[FILES[0]], RECORD)
    detected, modified = read_prepared(run)
    assert record.threshold == detected.detection.threshold
    assert record.modified.text == "a bag"
    tensors = load(files[FILES[1]])
    assert tensors.pop("reference").equal(detected.reference)
    conditions = {f"condition.{n}": t for n, t in modified.condition.tensors.items()}
    assert tensors.keys() == conditions.keys()
    assert all(tensors[name].equal(tensor) for name, tensor in conditions.items())
    assert not any("preparation/" in name for name in files)
    elsewhere = shutil.copytree(run, tmp_path / "another name" / "copy")
    digest = pack([elsewhere], tmp_path / "a.zip")
    assert digest == hashlib.sha256(packed.read_bytes()).hexdigest()
    assert str(run.parent).encode() not in files[FILES[0]] + files[FILES[1]]


def test_a_preparation_that_was_taken_away_is_not_packed_and_half_a_one_is_refused(run, tmp_path):
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    (copied / PREPARED[1]).rename(tmp_path / "kept")
    with pytest.raises(DataError, match="not what efface writes"):
        pack([copied], tmp_path / "a.zip")
    (copied / PREPARED[1]).symlink_to(tmp_path / "kept")
    with pytest.raises(RequestError, match="is a link"):
        pack([copied], tmp_path / "a.zip")
    detection = json.loads((copied / PREPARED[0]).read_text())
    (copied / PREPARED[1]).unlink()
    (tmp_path / "kept").rename(copied / PREPARED[1])
    for strange in (detection | {"threshold": None}, {"threshold": 0.5}):
        (copied / PREPARED[0]).write_text(json.dumps(strange))
        with pytest.raises(DataError, match="not what efface writes"):
            pack([copied], tmp_path / "a.zip")
    shutil.rmtree(copied / "preparation")
    pack([copied], tmp_path / "a.zip")
    assert not set(FILES) & read_archive(tmp_path / "a.zip").files.keys()


def test_what_figures_need_beside_the_pack_and_is_not_here_is_said(claims):
    (score,) = claims("clip_score")
    (share,) = claims("memorised_share")
    (quality,) = claims("prompt_clip_iqa")
    for claim, sentence in [
        (told(score, "request", control_prompts="gone.txt"), "control prompts of gone.txt are not"),
        (told(score, "evaluate", clip="gone"), "clip gone is not on this machine"),
        (told(quality, "evaluate", clip="gone"), "clip gone is not on this machine"),
        (told(share, "memorised", extractor="gone"), "extractor gone is not on this machine"),
        (replace(quality, prepared=None), "this pack holds none of it"),
    ]:
        with pytest.raises(NotHereError, match=sentence):
            remeasure(claim)
    # The prompts' own figures need no control prompts.
    remeasure(told(share, "request", control_prompts="gone.txt"))


def test_what_is_another_than_recorded_is_refused(claims, tmp_path):
    (score,) = claims("clip_score")
    (share,) = claims("memorised_share")
    (loosened,) = claims("memorised_share_modified")
    assert share.prepared is not None
    reference, modified = share.prepared.reference, share.prepared.modified
    doubled = Condition({n: 2 * tensor for n, tensor in modified.condition.tensors.items()})
    unchanged = replace(modified.tried, way="as it is")

    def prepared(claim: Claim, **values: Any) -> Claim:
        assert claim.prepared is not None
        return replace(claim, prepared=replace(claim.prepared, **values))

    (tmp_path / "controls.txt").write_text("\n".join(f"one {word}" for word in WORDS))
    controls = str(tmp_path / "controls.txt")
    for claim, sentence in [
        (told(score, "request", control_prompts=controls), "are not those of this run"),
        (told(share, "request", prompt="a blue bag"), "with other prompt than"),
        (told(share, "evaluate", guidance=2.0), "the settings of its run"),
        (prepared(share, threshold=0.9), "with other copy than"),
        (prepared(share, reference=1 - reference), "with other memorised picture than"),
        (prepared(share, reference=reference[:, 1:]), "and this model draws"),
        (
            prepared(share, modified=replace(modified, condition=doubled)),
            "with other modified prompt than",
        ),
        (prepared(loosened, modified=replace(modified, tried=unchanged)), "this run needed none"),
    ]:
        with pytest.raises((DataError, RequestError), match=sentence):
            remeasure(claim)


def test_a_preparation_that_cannot_be_is_named(run, packed, tmp_path):
    kept = load(read_archive(packed).files[FILES[1]])
    reference = kept["reference"]
    ((name, condition),) = [(n, t) for n, t in kept.items() if n != "reference"]
    wrong = [
        {"reference": reference.double()},
        {"reference": reference * 2 + 1},
        {"reference": torch.full_like(reference, torch.nan)},
        {name: condition.repeat(2, 1, 1)},
        {name: torch.full_like(condition, torch.inf)},
    ]
    for tensors in wrong:
        path = with_tensors(packed, tmp_path / "a.zip", **tensors)
        assert subjects(verify(path, run / "pipeline", "none")) == {"run-1"}
    # Only a model can tell what its prompts are; the terms of the evaluation are taken away.
    content = changed(packed, "run-1/evaluation.json", terms={})
    for other in (condition[:, 1:], -condition):
        path = with_tensors(packed, tmp_path / "a.zip", **{name: other})
        path = rewritten(path, tmp_path / "b.zip", True, **{"run-1/evaluation.json": content})
        said = verify(path, run / "pipeline", "memorised_share_modified").checks[-1]
        assert not said.good and "none of this model's" in said.text
    for files in (
        {FILES[1]: None},
        {FILES[1]: b"nothing"},
        {FILES[0]: changed(packed, FILES[0], threshold="inf")},
    ):
        path = rewritten(packed, tmp_path / "c.zip", True, **files)
        assert subjects(verify(path, run / "pipeline", "none")) == {"run-1"}
    told_else = json.loads(read_archive(packed).files[FILES[0]])["modified"] | {"text": "a cat"}
    content = changed(packed, FILES[0], modified=told_else)
    path = rewritten(packed, tmp_path / "d.zip", True, **{FILES[0]: content})
    assert subjects(verify(path, run / "pipeline", "none")) == {FILES[0]}


def test_a_given_picture_is_not_needed_again(claims):
    """Its pixels are in the pack; the digest of the request holds them."""
    (score,) = claims("clip_score")
    assert score.prepared is not None
    picture = (score.prepared.reference * 255).round().byte()
    given = Path(score.record.request["control_prompts"]).read_text().splitlines()
    chosen = spread(given, score.record.settings["memorised"]["controls"])
    others = tuple(prompt for prompt in given if prompt not in chosen)
    digest = MemorisedInputs(
        picture=picture, asked=(), controls=tuple(chosen), others=others
    ).digest
    said = "training saw none" if len(others) >= len(chosen) else "training may have seen them"
    assert f"asked for by 59 control prompts, {said}" in score.result.protocol
    claim = told(score, "request", picture="gone.png", digest=digest)
    assert remeasure(claim).value == pytest.approx(score.result.value, rel=1e-4)
    with pytest.raises(RequestError, match="are not those of this run"):
        remeasure(told(claim, "request", digest="0" * 64))


def test_copies_by_an_extractor_are_told_by_that_extractor(run, tmp_path):
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    content = json.loads((copied / "record.json").read_text())
    network = content["settings"]["evaluate"]["extractor"]
    content["settings"]["memorised"]["extractor"] = network
    (copied / "record.json").write_text(json.dumps(content))
    efface.evaluate(copied)
    pack([copied], tmp_path / "a.zip")
    found = verify(tmp_path / "a.zip", copied / "pipeline", "reference_similarity")
    assert found.good, found.differences
    other = str(make_random(tmp_path / "network", MULTI, seed=5))
    content["settings"]["memorised"]["extractor"] = other
    (copied / "record.json").write_text(json.dumps(content))
    pack([copied], tmp_path / "b.zip")
    found = verify(tmp_path / "b.zip", copied / "pipeline", "reference_similarity")
    assert "with other copy than" in found.checks[-1].text and not found.good
