"""Forgetting concepts from text-to-image models, on tiny real pipelines."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from typer.testing import CliRunner

from efface.cli import app
from efface.diffusion.denoiser import VAECodec
from efface.diffusion.loading import load
from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.text.denoiser import TextDenoiser, as_text_denoiser
from efface.errors import DataError, RequestError
from efface.evaluation.subjects import Compared, read_subjects
from efface.evidence.pack import pack
from efface.records import read_evaluation, read_record
from efface.requests.concept.request import ForgetConcept
from efface.runs.evaluate import evaluate
from efface.runs.forget import forget
from efface.settings.evaluate import EvaluateSettings
from tests.diffusion.text.reading import COUNTS, assert_read_once, reading
from tests.fixtures import Pipelines
from tests.tiny import BAG, GUARDED, GUIDANCES, SMALL

UNHEARD = ("qzxjwk", "vqzkxj")  # keywords that nothing else holds, in all bytes of a run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = [f for n in ("unet", "transformer") for f in (folder / n).glob("*.safetensors")]
    return load_file(file)


@pytest.mark.parametrize("kind", ["sd", "sd_v", "sd3"])
def test_a_run_goes_from_request_to_report(concept_runs: Callable[[str], Path], kind: str) -> None:
    out = concept_runs(kind)
    record = read_record(out)
    assert record.status == "finished"
    counts = {"forget_prompts": 1, "retain_prompts": 3}
    left_out = {"retain_prompts_dropped": 0, "retain_prompts_too_long": 0}
    assert record.notes == counts | left_out
    assert record.sampler["passes"] == 1
    changed = {k for k, v in record.output.items() if v != record.model["weights"][k]}
    assert {name.split("/")[0] for name in changed} == {"transformer" if kind == "sd3" else "unet"}
    grid = json.loads((out / "samples" / "grid.json").read_text())
    assert grid["names"] == ["'a bag'", "'a cat'", "'a dog'", "'a coat'"]
    assert (grid["forgotten"], grid["tile"]) == ([0], 16)
    assert (out / "report.html").exists() and (out / "pipeline" / "README.md").exists()


def test_every_prompt_is_encoded_once_in_a_whole_run_that_is_guarded_and_measured(
    concept_runs: Callable[[str], Path], encoded_prompts: dict[str, int]
) -> None:
    assert [check["step"] for check in read_record(concept_runs("sd")).guard] == [0, 2]
    assert encoded_prompts["sd"] == 5  # a bag, a cat, a dog, a coat and the empty prompt


@pytest.mark.slow
def test_stock_diffusers_generates_the_same_without_efface(
    concept_runs: Callable[[str], Path], without_efface: Callable[..., None], tmp_path: Path
) -> None:
    """In a process where importing efface fails; eps, v and flow matching."""
    own, kinds = {}, ("sd", "sd_v", "sd3")
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    for kind in kinds:
        denoiser = as_text_denoiser(load(concept_runs(kind)))
        sampler = default_sampler(inspect_model(concept_runs(kind)), denoiser)
        with torch.no_grad():
            x0 = sampler.draw(denoiser, noise, denoiser.encode(["a bag", "a cat"]))
            own[kind] = denoiser.codec.decode(x0).clamp(-1, 1).add(1).div(2)
    folders = {kind: str(concept_runs(kind) / "pipeline") for kind in kinds}
    script = f"""
import torch
from diffusers import DiffusionPipeline
noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
drawn = {{}}
for kind, folder in {folders!r}.items():
    pipe = DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    drawn[kind] = pipe(["a bag", "a cat"], latents=noise, num_inference_steps=1,
                       guidance_scale=1.0, output_type="pt").images
torch.save(drawn, {str(tmp_path / "stock.pt")!r})
"""
    without_efface(script)
    stock = torch.load(tmp_path / "stock.pt", weights_only=True)
    for kind in kinds:
        assert_close(stock[kind], own[kind], rtol=0, atol=1e-5)


def test_a_resumed_run_is_the_same_run_bit_for_bit(
    concept_runs: Callable[[str], Path], pipelines: Pipelines, tmp_path: Path
) -> None:
    def stop(step: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        forget(pipelines("sd"), BAG, out, changes=GUARDED, on_step=stop)
    forget(pipelines("sd"), BAG, out, changes=GUARDED, resume=True, measure=False)
    whole, resumed = weights(concept_runs("sd") / "pipeline"), weights(out / "pipeline")
    assert all(whole[name].equal(resumed[name]) for name in whole)


@pytest.fixture(scope="module")
def broken(detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the detector that name their labels and cannot be loaded."""
    root = tmp_path_factory.mktemp("broken")
    for name in ("truncated", "unprepared"):
        shutil.copytree(detector, root / name)
    weights = root / "truncated" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    (root / "unprepared" / "preprocessor_config.json").unlink()
    return root


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["evaluate.detector={broken}/truncated"], "truncated is"),
        (["evaluate.detector={broken}/unprepared"], "unprepared is"),
        (["evaluate.clip=nowhere"], "nowhere"),
        (["evaluate.extractor=nowhere", "evaluate.reference=digits"], "nowhere"),
        (["evaluate.extractor=nowhere"], "nowhere"),
    ],
)
def test_a_network_that_cannot_be_loaded_is_refused_before_weights_are_fetched(
    pipelines: Pipelines,
    detected: list[str],
    broken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: list[str],
    named: str,
) -> None:
    def refuse(info: ModelInfo) -> None:
        pytest.fail(f"the weights of {info.source} were fetched")

    monkeypatch.setattr("efface.runs.forget.fetch_weights", refuse)
    changes = [*SMALL, *detected, *(text.format(broken=broken) for text in change)]
    with pytest.raises(DataError, match=named):
        forget(pipelines("sd"), BAG, tmp_path / "out", changes=changes)
    assert not (tmp_path / "out").exists()


def test_a_run_whose_prompts_changed_is_not_resumed(pipelines: Pipelines, tmp_path: Path) -> None:
    file, out = tmp_path / "keep.txt", tmp_path / "out"
    file.write_text("a cat\n")
    request = BAG.model_copy(update={"retain_prompts": str(file)})
    forget(pipelines("sd"), request, out, changes=SMALL, measure=False)
    file.write_text("a dog\n")
    with pytest.raises(RequestError, match="holds another run: material.digest"):
        forget(pipelines("sd"), request, out, changes=SMALL, resume=True)
    with pytest.raises(RequestError, match="no longer what was forgotten"):
        evaluate(out)


def test_the_fake_score_learns_the_students_samples_and_the_student_moves(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    """Its loss in the last 3 of 9 steps was 0.89 (retain) and 0.87 (forget) of that before."""
    longer = [
        *SMALL,
        "train.steps=9",
        "train.learning_rate=5e-3",
        "train.ema_decay=0.0",
        "train.log_every=1",
        "train.checkpoint_every=100",
        "method.forget_share=1.0",
        "method.student_forget_weight=1.0",
        "method.fake_score_forget_weight=1.0",
        "method.fake_score_condition_dropout=0.0",
        *(f"method.{which}=1.0" for which in GUIDANCES),
    ]
    out = forget(pipelines("sd"), BAG, tmp_path / "out", changes=longer, measure=False)
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for side in ("retain", "forget"):
        learnt = np.array([step[f"fake_score_{side}_loss"] for step in steps])
        assert learnt[-3:].mean() < 0.95 * learnt[:3].mean()
        assert np.ptp([step[f"student_{side}_loss"] for step in steps]) > 1
    before, after = weights(pipelines("sd")), weights(out / "pipeline")
    moved = [float((after[name] - before[name]).abs().max()) for name in before]
    assert max(moved) > 1e-3


def test_a_second_stage_begins_from_a_distilled_text_model(
    pipelines: Pipelines, two_stages: tuple[Path, Path], tmp_path: Path
) -> None:
    first, _ = two_stages
    frozen = [*SMALL, "train.learning_rate=0.0"]  # so that the start is what is written
    second = forget(
        pipelines("sd"), BAG, tmp_path / "second", changes=frozen, start=first, measure=False
    )
    begun, written = weights(first / "pipeline"), weights(second / "pipeline")
    assert all(begun[name].equal(written[name]) for name in begun)
    start = read_record(second).start
    assert start is not None and start["output"] == read_record(first).output
    assert start["request"]["kind"] == "distil"


def files_with(words: Sequence[str], folder: Path) -> list[str]:
    """Files whose bytes hold one of the words, by their path inside the folder."""
    held = [word.encode() for word in words]
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(word in path.read_bytes().lower() for word in held)
    ]


def test_no_keyword_gets_into_what_a_run_writes(
    pipelines: Pipelines, detected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither into its folder nor into a pack or the store, though their samples are measured."""
    monkeypatch.setenv("EFFACE_CACHE", str(tmp_path / "store"))
    keywords = tmp_path / "keywords.txt"
    keywords.write_text("\n".join(UNHEARD))
    changes = [*SMALL, *detected[:3], "concept.forget_guidance=2.0"]
    request = ForgetConcept(concept="colour", negative=str(keywords))
    out = forget(pipelines("sd"), request, tmp_path / "out", changes=changes)
    assert read_evaluation(out).get("concept_rate") is not None
    grid = json.loads((out / "samples" / "grid.json").read_text())
    assert grid["names"] == ["'a cat'", "'a dog'"] and grid["forgotten"] == []
    pack([out], tmp_path / "evidence.zip")
    with zipfile.ZipFile(tmp_path / "evidence.zip") as archive:
        archive.extractall(tmp_path / "evidence")
    for name in ("out/checkpoints", "out/report.html", "evidence/run-1/record.json", "store"):
        assert (tmp_path / name).exists()
    assert files_with(UNHEARD, tmp_path) == ["keywords.txt"]


def test_the_command_line_forgets_a_concept_and_distils_first(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    model, file = str(pipelines("sd")), tmp_path / "retain.txt"
    file.write_text("a cat\na dog\n")
    runs = (
        (["distil", model, "--retain-prompts", str(file)], "first", []),
        (
            ["forget", "concept", model, "--concept", "bag", "--replace", "coat"],
            "second",
            ["--start", str(tmp_path / "first")],
        ),
    )
    for command, name, more in runs:
        own = [c for c in SMALL if name == "second" or not c.startswith("concept.")]
        given = [part for change in own for part in ("--set", change)]
        done = CliRunner().invoke(
            app, [*command, *given, "--no-evaluate", *more, "--out", str(tmp_path / name)]
        )
        assert done.exit_code == 0, done.output
    assert read_record(tmp_path / "second").request["replacement"] == "coat"


def retrained(model: Path, folder: Path) -> Path:
    """The same pipeline with other weights of its network."""
    shutil.copytree(model, folder)
    (part,) = (p for p in (folder / "unet", folder / "transformer") if p.is_dir())
    (file,) = part.glob("*.safetensors")
    changed = {name: tensor * 1.01 for name, tensor in load_file(file).items()}
    save_file(changed, file, metadata={"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
def test_a_run_that_is_guarded_and_measured_beside_a_retrained_model_encodes_each_prompt_once(
    sized_pipelines: Pipelines, clip_folder: Path, tmp_path: Path, kind: str
) -> None:
    model = sized_pipelines(kind)
    other = retrained(model, tmp_path / "retrained")
    changes = [*SMALL, "train.guard_every=2", f"evaluate.clip={str(clip_folder)!r}"]
    with reading() as read:
        run = forget(model, BAG, tmp_path / "run", changes=changes, retrained=other)
    assert_read_once(read, kind, 5)  # a bag, a cat, a dog, a coat and the empty prompt
    rates = read_evaluation(run).get("concept_rate")
    assert rates is not None and rates.retrained is not None


def test_a_retrained_model_shares_prompts_and_vae_unless_its_encoders_are_others(
    concept_runs: Pipelines, pipelines: Pipelines, tmp_path: Path
) -> None:
    run, other = concept_runs("sd"), retrained(pipelines("sd"), tmp_path / "retrained")
    compared = Compared(guidance=1.0, same_sampler=False, retrained=other)

    def beside() -> tuple[TextDenoiser, TextDenoiser]:
        found = read_subjects(run, read_record(run), EvaluateSettings(), compared)
        assert found.retrained is not None
        subjects = found.original, found.retrained
        original, beside = (as_text_denoiser(subject.denoiser) for subject in subjects)
        return original, beside

    original, own = beside()
    assert own.prompts is original.prompts
    assert isinstance(original.codec, VAECodec) and isinstance(own.codec, VAECodec)
    assert own.codec.vae is original.codec.vae
    theirs, given = (next(d.network.parameters()) for d in (own, original))
    assert_close(theirs, 1.01 * given)
    file = other / "text_encoder" / "model.safetensors"
    save_file({n: t + 0.1 for n, t in load_file(file).items()}, file, metadata={"format": "pt"})
    original, own = beside()
    assert own.prompts is not original.prompts
    rows = [next(iter(d.encode(["a bag"]).tensors.values())) for d in (original, own)]
    assert not rows[0].equal(rows[1])
