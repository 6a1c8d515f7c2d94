"""A run from request to report, on tiny real models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

import efface
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import save_pipeline
from efface.diffusion.sampling import OneStep, draw_images
from efface.errors import RequestError
from efface.records import hash_weights, read_evaluation, read_record, write_json
from efface.reporting import judge_run
from efface.training.checkpoint import Checkpoints, read_tensors
from tests.conftest import assert_drawn_once, counting_passes, without_store

SMALL = [
    "train.steps=4",
    "train.batch_size=8",
    "train.learning_rate=1e-4",
    "train.guard_every=2",
    "method.forget_share=0.5",
    "evaluate.forget_samples=12",
    "evaluate.retain_samples=36",
    "evaluate.baseline_steps=2",
]


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    request = efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    out = tmp_path_factory.mktemp("runs") / "run"
    return efface.forget(tiny_model, request, out, changes=SMALL)


def test_run_folder_holds_what_is_promised(run: Path) -> None:
    names = {p.name for p in run.iterdir()}
    promised = {"pipeline", "record.json", "metrics.jsonl", "evaluation.json", "samples"}
    assert promised | {"checkpoints", "report.html"} <= names
    record = read_record(run)
    assert record.status == "finished"
    assert record.request == {"kind": "class", "labels": [0, 3], "replacement": [1, 2]}
    assert record.settings["method"]["alpha"] == 1.2
    assert record.sampler["passes"] == 1
    assert record.output.keys() == {"unet/diffusion_pytorch_model.safetensors"}
    assert record.output != record.model["weights"]


def test_evaluation_has_the_promised_shape(run: Path) -> None:
    content = json.loads((run / "evaluation.json").read_text())
    assert content["schema"] == 1
    metrics = {r["metric"]: r for r in content["results"]}
    promised = {"unlearning_accuracy", "retained_accuracy", "fid", "precision", "recall"}
    assert promised <= metrics.keys()
    for result in metrics.values():
        assert result["low"] <= result["value"] <= result["high"]
        baseline = result["baseline"]
        assert baseline["low"] <= baseline["value"] <= baseline["high"]
        assert result["samples"] == result["seeds"][1] - result["seeds"][0] + 1
        assert "2 DDIM steps" in result["protocol"]
    assert metrics["unlearning_accuracy"]["samples"] == 12
    assert metrics["retained_accuracy"]["samples"] == 36


def test_evaluating_again_from_nothing_gives_the_same_numbers(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_evaluation(run)
    (run / "evaluation.json").unlink()
    monkeypatch.setenv("EFFACE_CACHE", "off")
    assert efface.evaluate(run).results == before.results


def test_a_run_is_measured_again_by_no_pass(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    assert_drawn_once(tmp_path / "run")
    (tmp_path / "run" / "evaluation.json").unlink()
    with counting_passes() as passes, without_store():
        efface.evaluate(tmp_path / "run")
    assert passes  # the counter counts


def test_damaged_sheets_are_drawn_again(run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    for name, damage in (("before.png", b"\x89PNG"), ("after.png", None), ("grid.json", b"{")):
        path = copied / "samples" / name
        path.unlink() if damage is None else path.write_bytes(damage)
        efface.evaluate(copied)
        assert path.read_bytes() == (run / "samples" / name).read_bytes(), name


def test_what_a_run_did_not_make_is_not_measured_as_its_own(
    run: Path, tiny_unet: Callable[..., Denoiser], tmp_path: Path
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)

    def refused(match: str) -> None:
        with pytest.raises(RequestError, match=match):
            efface.evaluate(copied)

    save_pipeline(tiny_unet(seed=9), tmp_path / "other")
    weights = "unet/diffusion_pytorch_model.safetensors"
    shutil.copy(tmp_path / "other" / weights, copied / "pipeline" / weights)
    refused("does not hold the weights that the run made")
    content = json.loads((copied / "record.json").read_text())
    for change, match in (
        ({"status": "running"}, "is not finished: complete it with --resume"),
        ({"request": {"kind": "train"}}, "a run of `efface train`, which has nothing to be"),
        ({"model": {"source": "x", "weights": {}}}, "another version of efface, whose record lack"),
    ):
        (copied / "record.json").write_text(json.dumps(content | change))
        refused(match)


def test_a_result_of_no_numbers_is_a_collapse_and_nothing_is_measured(
    run: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    file = broken / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.weight"][0] = torch.nan
    save_file(tensors, file, metadata={"format": "pt"})
    record = read_record(broken)
    hashes = {name: hash_weights(broken / "pipeline")[name] for name in record.output}
    write_json(broken / "record.json", record.model_copy(update={"output": hashes}))
    found = efface.evaluate(broken)
    assert (found.results, found.guards) == ([], ["collapse"])
    assert judge_run(read_record(broken), found).outcome == "collapsed"
    assert "nan" not in (broken / "evaluation.json").read_text().lower()
    sentence = fails("evaluate", run, "--set", "evaluate.guidance=1e38")
    assert "guidance 1e+38 are not finite numbers" in sentence


def test_resuming_a_finished_run_changes_nothing(run: Path, tiny_model: Path) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    request = efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    efface.forget(tiny_model, request, run, changes=SMALL, resume=True)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_resuming_another_run_is_refused(run: Path, tiny_model: Path) -> None:
    request = efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    with pytest.raises(RequestError, match="another settings"):
        efface.forget(tiny_model, request, run, changes=[*SMALL, "train.seed=5"], resume=True)


def test_a_run_of_a_version_with_fewer_settings_can_be_resumed(
    run: Path, tiny_model: Path, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(run, earlier)
    record = json.loads((earlier / "record.json").read_text())
    for section, name in (("prompts", "reach"), ("memorised", "stop_images"), ("train", "tracker")):
        del record["settings"][section][name]
    del record["settings"]["detector"]
    (earlier / "record.json").write_text(json.dumps(record))
    request = efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    assert efface.forget(tiny_model, request, earlier, changes=SMALL, resume=True) == earlier
    with pytest.raises(RequestError, match="another settings"):
        changes = [*SMALL, "prompts.reach=0.5"]
        efface.forget(tiny_model, request, earlier, changes=changes, resume=True)


def test_settings_that_change_no_result_may_change_on_resume(run: Path, tiny_model: Path) -> None:
    request = efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    other = [*SMALL, "train.ignore_memory=true", "train.log_every=3", "train.checkpoint_every=7"]
    assert efface.forget(tiny_model, request, run, changes=other, resume=True) == run


def test_evaluating_otherwise_samples_otherwise(run: Path) -> None:
    before = read_evaluation(run)
    changed = efface.evaluate(run, changes=["evaluate.baseline_steps=5"])
    assert "5 DDIM steps" in changed.results[0].protocol and changed.key != before.key
    terms = {"untouched model": "5 DDIM steps, guidance 1", "forgotten labels": "0, 3"}
    assert before.terms | terms == changed.terms != before.terms
    fid, fid_before = changed.get("fid"), before.get("fid")
    assert fid is not None and fid_before is not None
    assert fid.baseline != fid_before.baseline and fid.value == fid_before.value
    assert efface.evaluate(run).results == before.results


def test_a_run_that_was_stopped_before_it_was_measured_is_measured_on_resume(
    tiny_model: Path, tmp_path: Path
) -> None:
    request, out = efface.ForgetClass(labels=(0,)), tmp_path / "out"
    efface.forget(tiny_model, request, out, changes=SMALL, measure=False)
    efface.forget(tiny_model, request, out, changes=SMALL, resume=True)
    assert read_evaluation(out).results


def test_output_loads_as_a_one_step_generator(run: Path) -> None:
    denoiser = efface.load(run)
    noise = torch.randn(2, 1, 8, 8)
    condition = denoiser.encode([1, 2])
    images = draw_images(denoiser, OneStep(denoiser.schedule.num_timesteps - 1), condition, [0, 1])
    assert images.shape == noise.shape


def test_stock_diffusers_draws_the_same_without_efface(run: Path, tmp_path: Path) -> None:
    """In a process where importing efface fails."""
    denoiser = efface.load(run)
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(3, 1, 8, 8, generator=generator)
    sampler = OneStep(denoiser.schedule.num_timesteps - 1)
    with torch.no_grad():
        own = sampler.draw(denoiser, noise, denoiser.encode([1, 4, 9]), [])
    script = f"""
import sys
sys.modules["efface"] = None
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, UNet2DModel
folder = {str(run / "pipeline")!r}
noise = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(5))
labels = torch.tensor([1, 4, 9])
unet = UNet2DModel.from_pretrained(folder, subfolder="unet", use_safetensors=True)
scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
scheduler.set_timesteps(1)
(t,) = scheduler.timesteps
with torch.no_grad():
    output = unet(noise, t, class_labels=labels).sample
    by_hand = scheduler.step(output, t, noise).prev_sample
pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
pipe.set_progress_bar_config(disable=True)
images = pipe(labels, latents=noise, output_type="pt").images
torch.save({{"by_hand": by_hand, "images": images}}, {str(tmp_path / "stock.pt")!r})
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    stock = torch.load(tmp_path / "stock.pt", weights_only=True)
    assert_close(stock["by_hand"], own, rtol=0, atol=1e-6)
    assert_close(stock["images"], own.clamp(-1, 1).add(1).div(2), rtol=0, atol=1e-6)


def test_two_stage_starts_from_the_distilled_networks_with_the_true_teacher(
    tiny_model: Path, tmp_path: Path
) -> None:
    first = efface.forget(
        tiny_model, efface.Distil(), tmp_path / "first", changes=SMALL, measure=False
    )
    frozen = [*SMALL, "train.learning_rate=0.0"]  # so that the start is what is written
    second = efface.forget(
        tiny_model,
        efface.ForgetClass(labels=(0,), replacement=(1,)),
        tmp_path / "second",
        changes=frozen,
        start=first,
        measure=False,
    )
    name = "pipeline/unet/diffusion_pytorch_model.safetensors"
    a, b = load_file(first / name), load_file(second / name)
    assert all(a[key].equal(b[key]) for key in a)
    kept = [Checkpoints(r / "checkpoints").latest() for r in (first, second)]
    a, b = (read_tensors(folder, "fake_score") for folder in kept if folder)
    assert all(a[key].equal(b[key]) for key in a)
    assert read_record(second).start == {
        "request": {"kind": "distil"},
        "output": read_record(first).output,
    }


def test_two_stage_starts_from_a_generator_that_is_no_run(
    tiny_unet: Callable[..., Denoiser], tiny_model: Path, tmp_path: Path
) -> None:
    save_pipeline(tiny_unet(seed=9), tmp_path / "generator")
    request = efface.ForgetClass(labels=(0,), replacement=(1,))
    frozen = [*SMALL, "train.learning_rate=0.0"]  # so that the start is what is written
    start = tmp_path / "generator"
    out = efface.forget(
        tiny_model, request, tmp_path / "out", changes=frozen, start=start, measure=False
    )
    a = load_file(tmp_path / "generator" / "unet" / "diffusion_pytorch_model.safetensors")
    b = load_file(out / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(a[key].equal(b[key]) for key in a)
    record = read_record(out)
    assert record.start is not None
    assert record.start["request"] == {"kind": "generator", "source": str(start)}
    assert record.start["output"] != record.model["weights"]
    with pytest.raises(RequestError, match="is a whole pipeline, and this run trains adapters"):
        changes = [*SMALL, "train.lora_rank=2"]
        efface.forget(tiny_model, request, tmp_path / "lora", changes=changes, start=start)
    save_pipeline(tiny_unet(channels=(8, 8)), tmp_path / "smaller")
    with pytest.raises(RequestError, match="smaller is not made like that of"):
        start = tmp_path / "smaller"
        efface.forget(tiny_model, request, tmp_path / "small", changes=SMALL, start=start)


def test_starting_from_a_run_that_does_not_fit_is_refused(
    tiny_model: Path, run: Path, tmp_path: Path
) -> None:
    request = efface.ForgetClass(labels=(0,), replacement=(1,))

    def refused(match: str, *changes: str) -> None:
        with pytest.raises(RequestError, match=match):
            efface.forget(
                tiny_model, request, tmp_path / "out", changes=[*SMALL, *changes], start=run
            )
        assert not (tmp_path / "out").exists()

    refused("method.sigma_init 2.5, and this run is set to 5.0", "method.sigma_init=5.0")
    refused("method.input_scale 'unit'", "method.input_scale=published")
    shutil.copytree(run, tmp_path / "other")
    record = json.loads((tmp_path / "other" / "record.json").read_text())
    record["settings"]["method"]["name"] = "siss"
    (tmp_path / "other" / "record.json").write_text(json.dumps(record))
    with pytest.raises(RequestError, match="is a run of the method 'siss', and this one of 'sfd'"):
        efface.forget(tiny_model, request, tmp_path / "out", start=tmp_path / "other")


def test_a_one_step_generator_teaches_nobody(run: Path, tmp_path: Path) -> None:
    request = efface.ForgetClass(labels=(0,), replacement=(1,))
    with pytest.raises(RequestError, match="draws in one step, and cannot teach"):
        efface.forget(run, request, tmp_path / "out", changes=SMALL)
    assert not (tmp_path / "out").exists()


def test_starting_from_a_run_of_another_model_is_refused(
    tiny_unet: Callable[..., Denoiser], run: Path, tmp_path: Path
) -> None:
    save_pipeline(tiny_unet(seed=9), tmp_path / "other")
    request = efface.ForgetClass(labels=(0,), replacement=(1,))
    with pytest.raises(RequestError, match="was made from another model"):
        efface.forget(tmp_path / "other", request, tmp_path / "out", start=run)


def test_evaluating_against_a_changed_model_is_refused(
    tiny_unet: Callable[..., Denoiser], tmp_path: Path
) -> None:
    save_pipeline(tiny_unet(), tmp_path / "model")
    request = efface.ForgetClass(labels=(0,))
    out = efface.forget(tmp_path / "model", request, tmp_path / "out", changes=SMALL, measure=False)
    save_pipeline(tiny_unet(seed=1), tmp_path / "model")
    with pytest.raises(RequestError, match="is no longer the model"):
        efface.evaluate(out)


def test_without_a_judge_the_pictures_are_drawn_and_nothing_is_claimed(
    tiny_unet: Callable[..., Denoiser], tmp_path: Path
) -> None:
    save_pipeline(tiny_unet(), tmp_path / "model")
    request = efface.ForgetClass(labels=(0,))
    out = efface.forget(tmp_path / "model", request, tmp_path / "out", changes=SMALL)
    assert read_evaluation(out).results == []
    assert (out / "samples" / "after.png").exists()
    assert (out / "report.html").exists()


def test_latent_transformer_with_vae_runs_end_to_end(
    tiny_dit: Callable[[], Denoiser], tmp_path: Path
) -> None:
    save_pipeline(tiny_dit(), tmp_path / "dit")
    request = efface.ForgetClass(labels=(2,), replacement=(5,))
    out = efface.forget(tmp_path / "dit", request, tmp_path / "out", changes=SMALL)
    index = json.loads((out / "pipeline" / "model_index.json").read_text())
    assert index["_class_name"] == "DiTPipeline"
    assert efface.load(out).schedule.num_timesteps < 1000


def test_other_real_images_behind_the_same_classifier_are_measured_again(
    run: Path, tiny_model: Path, tmp_path: Path
) -> None:
    before = read_evaluation(run)
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(tiny_model / "judge", tmp_path / "judge")
    reference = load_file(tmp_path / "judge" / "reference.safetensors")
    reference["features"] += 1
    save_file(reference, tmp_path / "judge" / "reference.safetensors")
    after = efface.evaluate(tmp_path / "run", judge=tmp_path / "judge")
    fid, fid_before = after.get("fid"), before.get("fid")
    assert fid is not None and fid_before is not None and fid.value != fid_before.value
    assert before.judge is not None and after.judge is not None
    differing = {key for key in before.judge if before.judge[key] != after.judge[key]}
    assert differing == {"reference_sha256"}


def test_sampling_writes_one_file_per_image(run: Path, tmp_path: Path) -> None:
    from efface.runs.sample import draw_sheet

    assert draw_sheet(run, tmp_path / "sheet", [1, 2], 3, 0, None, 1.0) == 6
    assert len(list((tmp_path / "sheet").glob("label*.png"))) == 6
    with pytest.raises(RequestError, match="nothing there was touched"):
        draw_sheet(run, tmp_path / "sheet", [1], 1, 0, None, 1.0)
