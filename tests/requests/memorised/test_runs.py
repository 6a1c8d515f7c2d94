"""Forgetting a memorised picture from a text-to-image model, on tiny real pipelines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.testing import assert_close
from typer.testing import CliRunner

from efface.cli import app
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import load_text
from efface.errors import ConfigError, DataError, RequestError
from efface.records import read_evaluation, read_record
from efface.reporting import judge_run, write_report
from efface.requests.base import ForgetMemorised
from efface.requests.goals import read_case
from efface.requests.memorised.feed import (
    encode_images,
    memorised_sampler,
    staying_pictures,
)
from efface.requests.memorised.goal import MemorisedGoal
from efface.requests.memorised.sampling import Drawing, to_unit
from efface.requests.memorised.settings import MemorisedConfig
from efface.requests.memorised.stages import read_prepared
from efface.requests.memorised.stopping import CopyStopper
from efface.runs.attack import attack
from efface.runs.evaluate import evaluate
from efface.runs.forget import forget
from efface.settings.reading import read_settings
from tests.conftest import assert_drawn_once
from tests.diffusion.text.conftest import BUILD
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.diffusion.text.conftest import text_model as text_model
from tests.metrics.test_clip import folder as clip_folder  # noqa: F401
from tests.requests.memorised.conftest import WORDS
from tests.requests.memorised.conftest import drawing as drawing
from tests.requests.memorised.conftest import memorising as memorising

# On random weights a picture with some likeness has to count as a copy.
SHORT = [
    "neighbour_leak.samples=4",
    "neighbour_leak.sampling_steps=2",
    "latent_search.samples=4",
    "latent_search.tries=[1, 2]",
    "latent_search.sampling_steps=2",
]
SMALL = [
    "train.steps=2",
    "train.batch_size=4",
    "train.learning_rate=1e-3",
    "train.checkpoint_every=1",
    # In place of what the recipe that ships has for Stable Diffusion 1.x and whole batches.
    "train.accumulation=1",
    "train.gradient_checkpointing=false",
    "method.rule_name=relative_norm",
    "memorised.split=similarity",
    "memorised.original_share=0.5",
    "memorised.undecided=0.5",
    "evaluate.guidance=1.0",
    "evaluate.baseline_steps=2",
    "evaluate.retain_samples=4",
    "memorised.force=true",
    "memorised.samples=4",
    "memorised.control_images=2",
    "memorised.search_images=4",
    "memorised.noises=2",
    "memorised.images=16",
    "memorised.least_rows=2",
    "memorised.copy_similarity=0.25",
    "memorised.control_share=0.25",
    "method.alone_target=teacher",
]
# The student equals its teacher in all rows, and no row of four stays for the noise's sake.
STANDSTILL = ["method.retain_target=teacher", "method.alone_target=noise"]
STANDSTILL += ["memorised.control_share=0"]
DETECTED = ["evaluate.detector=nowhere", 'evaluate.detector_labels=["bag"]']
LOOSE = ForgetMemorised(prompt="a red bag", modified_prompt="a bag")
Pipelines = Callable[[str], Path]


@pytest.fixture(scope="module")
def controls(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("prompts") / "controls.txt"
    others = [f"{word} here" for word in WORDS]  # which training never sees
    # The prompt itself is no control prompt.
    file.write_text("\n".join(["a red  BAG", *WORDS, *others]))
    return str(file)


@pytest.fixture(scope="module")
def request_(controls: str) -> ForgetMemorised:
    return LOOSE.model_copy(update={"control_prompts": controls})


@pytest.fixture(scope="module")
def run(
    pipelines: Pipelines, request_: ForgetMemorised, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("runs") / "memorised"
    return forget(pipelines("sd"), request_, out, changes=SMALL)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")


def test_a_run_goes_from_a_prompt_to_a_report(run: Path) -> None:
    record = read_record(run)
    assert record.status == "finished" and record.settings["method"]["name"] == "siss"
    notes = record.notes
    assert notes["copies"] + notes["others"] + notes["undecided"] == 16
    assert notes["modified_by"] == "given" and notes["modified_prompt"] == "a bag"
    changed = {k for k, v in record.output.items() if v != record.model["weights"][k]}
    assert {name.split("/")[0] for name in changed} == {"unet"}
    for name in ("detection", "copies", "others"):
        assert (run / "preparation" / f"{name}.png").exists()
    grid = json.loads((run / "samples" / "grid.json").read_text())
    assert grid["names"][:2] == ["'a red bag'", "'a bag'"] and grid["forgotten"] == [0, 1]
    with Image.open(run / "samples" / "after.png") as sheet:
        assert sheet.size == (8 * 16, len(grid["names"]) * 16)
    assert "a red bag" in (run / "report.html").read_text()


def test_a_run_is_measured_again_by_no_pass(run: Path, clip_folder: Path, tmp_path: Path) -> None:  # noqa: F811
    out = tmp_path / "run"
    shutil.copytree(run, out)
    clip = [f"evaluate.clip={str(clip_folder)!r}"]
    evaluate(out, changes=clip)
    assert_drawn_once(out, clip)


def test_pictures_of_control_prompts_stay_under_their_own_prompts(
    run: Path, text_model: Callable[..., Any]
) -> None:
    detected, _ = read_prepared(run)
    assert detected.controls is not None
    config = MemorisedConfig(control_share=0.25, control_images=2)
    assert len(detected.controls) == 2 * config.controls
    denoiser, pictures = text_model("sd"), detected.controls[:6]
    found = staying_pictures(denoiser, denoiser.encode(WORDS[:3]), pictures, config)
    twice = denoiser.encode([word for word in WORDS[:3] for _ in range(2)])
    for name, tensor in twice.tensors.items():
        assert torch.equal(found.condition.tensors[name], tensor)
    assert torch.equal(found.images, encode_images(denoiser, pictures))
    assert found.share == 0.25
    with pytest.raises(DataError, match="control_share=0"):
        staying_pictures(denoiser, denoiser.encode(WORDS[:3]), None, config)


def test_both_prompts_are_measured_beside_the_untouched_model(run: Path) -> None:
    evaluation = read_evaluation(run)
    expected = ("memorised_share", "reference_similarity", "text_noise_norm")
    names = [result.metric for result in evaluation.results]
    assert names == [*expected, *(f"{name}_modified" for name in expected)]
    for result in evaluation.results:
        assert result.low <= result.value <= result.high
        assert result.baseline.low <= result.baseline.value <= result.baseline.high
    assert {"prompt", "memorised picture", "copy", "control prompts"} <= evaluation.terms.keys()
    share = evaluation.results[0]
    assert share.samples == 4 and share.value * 4 == round(share.value * 4)
    (curve,) = evaluation.curves
    assert set(curve.lines) == {"result", "baseline", "result_modified", "baseline_modified"}
    (at,) = (p for p in curve.lines["result"] if p.x == 0.25)  # what counts as a copy in these runs
    assert at.value == share.value


def test_a_run_is_attacked_by_its_prompt_and_its_picture(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    with pytest.raises(RequestError, match="forgotten pictures, and this run forgot memorised"):
        attack(copy, ["membership"])
    found = attack(copy, ["neighbour_leak", "latent_search"], changes=SHORT)
    leak, search = found.results
    share = read_evaluation(run).get("memorised_share")
    assert share is not None and "correlation of pixels" in leak.curve.protocol
    assert set(leak.curve.lines) == {"result", "baseline", "weak"}
    assert 0 < len(leak.curve.lines["result"]) <= len(WORDS)
    assert "other_prompts" in search.curve.lines
    # What counts as a copy is what the evaluation counts: of the same number, any share of it.
    for result in found.results:
        for line in result.curve.lines.values():
            assert all(4 * p.value == round(4 * p.value) for p in line)
    page = write_report([copy], copy / "report.html").read_text(encoding="utf-8")
    assert "Asking under other names" in page


def test_the_goal_of_an_attack_knows_copies_from_other_pictures(
    run: Path,
) -> None:
    request = ForgetMemorised.model_validate(read_record(run).request)
    case = read_case(run, read_record(run), request, read_settings("siss", None, SMALL), None, None)
    detected, _ = read_prepared(run)
    goal = case.goal
    assert isinstance(goal, MemorisedGoal) and goal.questions(2) == ["a red bag"] * 2
    negative = 1 - detected.reference
    shown = goal.shown(torch.stack([detected.reference, negative]))
    assert shown.tolist() == [True, False]
    assert "a red bag" not in goal.others


def test_the_share_is_that_of_pictures_drawn_by_hand(run: Path, pipelines: Pipelines) -> None:
    """The figure of the untouched model, from its own pictures of the same seeds."""
    denoiser = load_text(pipelines("sd"))
    settings = read_settings("siss", None, SMALL)
    drawing = Drawing(denoiser=denoiser, sampler=memorised_sampler(settings), batch_size=3)
    images = to_unit(drawing.of(denoiser.encode(["a red bag"]), range(1000, 1004), ""))
    detected, _ = read_prepared(run)
    found = [
        np.corrcoef(image.flatten().numpy(), detected.reference.flatten().numpy())[0, 1]
        for image in images
    ]
    results = {r.metric: r for r in read_evaluation(run).results}
    assert results["reference_similarity"].baseline.value == pytest.approx(np.mean(found), abs=2e-3)
    share = np.mean(np.array(found) >= 0.25)
    assert results["memorised_share"].baseline.value == pytest.approx(share)


def test_the_page_says_what_happened(run: Path) -> None:
    record, evaluation = read_record(run), read_evaluation(run)
    verdict = judge_run(record, evaluation)
    assert "asked for by its prompt" in verdict.headline
    assert "copies" in verdict.lead and "a bag" in verdict.lead
    assert verdict.kept == "unmeasured"


def test_a_clip_looks_at_the_prompts_and_at_the_rest(
    run: Path,
    clip_folder: Path,  # noqa: F811
) -> None:
    before = (run / "evaluation.json").read_bytes()
    found = evaluate(run, changes=[f"evaluate.clip={str(clip_folder)!r}"])
    names = {result.metric for result in found.results}
    assert {"prompt_clip_iqa", "prompt_clip_iqa_modified", "clip_iqa", "clip_score"} <= names
    (run / "evaluation.json").write_bytes(before)


def test_a_resumed_run_repeats_no_stage_and_is_the_same_bit_for_bit(
    run: Path, pipelines: Pipelines, request_: ForgetMemorised, tmp_path: Path
) -> None:
    def stop(step: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        forget(pipelines("sd"), request_, out, changes=SMALL, on_step=stop)
    kept = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (out / "preparation").iterdir()}
    assert len(kept) >= 10
    forget(pipelines("sd"), request_, out, changes=SMALL, resume=True, measure=False)
    for path, (moment, content) in kept.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (moment, content), path
    for path in (run / "preparation").iterdir():
        assert path.read_bytes() == (out / "preparation" / path.name).read_bytes(), path
    assert all(tensor.equal(weights(out)[name]) for name, tensor in weights(run).items())


@pytest.fixture(scope="module")
def obedient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose pictures are more of their prompt than of their noise."""
    pipeline = BUILD["sd"]()
    with torch.no_grad():
        for name, tensor in pipeline.unet.named_parameters():
            if "attn2.to_v" in name or "attn2.to_out" in name:
                tensor.mul_(30)
    folder = tmp_path_factory.mktemp("obedient")
    pipeline.save_pretrained(folder)
    return folder


def test_a_whole_run_searches_for_the_modified_prompt_itself(
    obedient: Path, request_: ForgetMemorised, tmp_path: Path
) -> None:
    """Of 16 pictures 15 are copies as the prompt is, and 8 after one descent."""
    request = request_.model_copy(update={"modified_prompt": None})
    changes = [*SMALL, "memorised.copy_similarity=0.4", 'memorised.search=["embedding"]']
    changes += ["memorised.search_images=16", "evaluate.guidance=30.0"]
    out = forget(obedient, request, tmp_path / "run", changes=changes)
    record = read_record(out)
    assert record.status == "finished"
    assert record.notes["modified_by"] == "embedding" and record.notes["prompts_tried"] > 1
    assert 0.2 <= record.notes["modified_share"] <= 0.8
    assert record.notes["copies"] >= 2 and record.notes["others"] >= 2
    found = json.loads((out / "preparation" / "modification.json").read_text())
    assert found["tried"][0]["way"] == "as it is" and found["tried"][0]["share"] > 0.8
    assert read_evaluation(out).get("memorised_share_modified") is not None
    embedding = record.notes["modified_prompt"]
    assert "no prompt has" in embedding and embedding in (out / "report.html").read_text()


def test_the_command_line_forgets_a_memorised_picture(
    pipelines: Pipelines, controls: str, tmp_path: Path
) -> None:
    """With the recipe, made small."""
    recipe = Path(__file__).parents[3] / "recipes" / "memorised-siss.toml"
    small = [
        "train.steps=2",
        "train.batch_size=4",
        "train.accumulation=4",
        "train.checkpoint_every=1",
        "evaluate.baseline_steps=1",
        "evaluate.retain_samples=4",
        "memorised.force=true",
        "memorised.samples=4",
        "memorised.control_images=2",
        "memorised.noises=2",
        "memorised.images=16",
        "memorised.least_rows=2",
        "memorised.copy_similarity=0.25",
    ]
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app,
        ["forget", "memorised", str(pipelines("sd")), "--recipe", str(recipe), "--out", str(out)]
        + ["--prompt", "a red bag", "--modified-prompt", "a bag", "--control-prompts", controls]
        + [part for change in small for part in ("--set", change)],
    )
    assert done.exit_code == 0, done.output
    record = read_record(out)
    assert record.request["kind"] == "memorised" and record.request["prompt"] == "a red bag"
    assert (record.status, record.steps) == ("finished", 2)
    assert record.settings["method"]["fixed_norm"] == 750
    assert {path.name for path in out.iterdir()} == {
        *("record.json", "environment.json", "metrics.jsonl", "evaluation.json", "report.html"),
        *("preparation", "checkpoints", "pipeline", "samples"),
    }
    assert (out / "pipeline" / "README.md").exists()


def test_settings_about_concepts_are_refused_where_a_run_is_measured(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="has no effect: of evaluate an evaluation of a run"):
        evaluate(run, changes=DETECTED)
    earlier = tmp_path / "earlier"
    shutil.copytree(run, earlier)
    content = json.loads((earlier / "record.json").read_text())
    content["settings"]["evaluate"]["distilled"] = "nowhere"
    (earlier / "record.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="distilled is for classes and concepts, and this run fo"):
        evaluate(earlier)


def test_latents_of_pictures_decode_to_them(text_model: Callable[..., Any]) -> None:
    """Up to what the VAE loses, which is the same whether one or many are encoded."""
    denoiser = text_model("sd")
    images = (torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255).byte()
    latents = encode_images(denoiser, images)
    assert latents.shape == (40, *denoiser.sample_shape)
    posterior = denoiser.codec.vae.encode(images.float() / 127.5 - 1).latent_dist
    scaled = denoiser.codec.vae.config.scaling_factor
    off = (latents - posterior.mean * scaled) / (posterior.std * scaled)
    assert_close(off.std(), torch.tensor(1.0), atol=0.05, rtol=0)
    assert encode_images(denoiser, images).equal(latents)


def test_a_run_stops_where_its_stopper_says_so(
    pipelines: Pipelines,
    request_: ForgetMemorised,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Random weights draw what they like, so the real stopper is asked and its answer kept back."""
    asked: list[str | None] = []
    check = CopyStopper.check

    def answer(stopper: CopyStopper, student: Denoiser) -> str | None:
        assert len(stopper.prompts) == 2 and len(stopper.seeds) == 3
        asked.append(check(stopper, student))
        return "enough" if len(asked) == 3 else None

    monkeypatch.setattr(CopyStopper, "check", answer)
    changes = [*SMALL, "train.steps=9", "train.stop_every=2", "memorised.stop_images=3"]
    out = forget(pipelines("sd"), request_, tmp_path / "run", changes=changes, measure=False)
    record = read_record(out)
    assert (record.steps, record.stopped) == (4, "The run stopped at step 4: enough.")
    assert len(asked) == 3


def test_what_was_prepared_must_be_there_to_measure(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not hold what this run was prepared with"):
        read_prepared(tmp_path)
    folder = tmp_path / "preparation"
    folder.mkdir()
    (folder / "detection.json").write_text("[1]")
    with pytest.raises(DataError, match="is not what efface writes"):
        read_prepared(tmp_path)
