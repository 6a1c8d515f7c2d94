"""A run from request to report, on tiny real models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import efface
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import load, save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import OneStep, draw_images
from efface.errors import RequestError
from efface.metrics.judge import load_judge
from efface.records import read_evaluation, read_record


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


def test_resuming_a_finished_run_changes_nothing(small, run: Path, tiny_model: Path) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    request = efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    efface.forget(tiny_model, request, run, changes=small, resume=True)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_resuming_another_run_is_refused(small, run: Path, tiny_model: Path) -> None:
    request = efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    with pytest.raises(RequestError, match="train.seed was 0 and is 5"):
        efface.forget(tiny_model, request, run, changes=[*small, "train.seed=5"], resume=True)


def test_settings_that_change_no_result_may_change_on_resume(
    small, run: Path, tiny_model: Path
) -> None:
    request = efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    other = [*small, "train.ignore_memory=true", "train.log_every=3", "train.checkpoint_every=7"]
    assert efface.forget(tiny_model, request, run, changes=other, resume=True) == run


def test_a_run_that_was_stopped_before_it_was_measured_is_measured_on_resume(
    small, tiny_model: Path, tmp_path: Path
) -> None:
    request, out = efface.ForgetClass(labels=(0,)), tmp_path / "out"
    efface.forget(tiny_model, request, out, changes=small, measure=False)
    efface.forget(tiny_model, request, out, changes=small, resume=True)
    assert read_evaluation(out).results


@pytest.mark.parametrize("lost", ["pipeline/README.md", "report.html"])
def test_what_a_kill_after_the_record_left_unwritten_is_written_on_resume(
    small, run: Path, tiny_model: Path, tmp_path: Path, lost: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(run, out)
    before = (out / lost).read_text(encoding="utf-8")
    weights = (out / "pipeline/unet/diffusion_pytorch_model.safetensors").read_bytes()
    (out / lost).unlink()
    request = efface.ForgetClass(labels=(0, 3), replacement=(1, 2))
    efface.forget(tiny_model, request, out, changes=small, resume=True)
    written = (out / lost).read_text(encoding="utf-8")
    assert len(written) == pytest.approx(len(before), rel=0.05)
    assert (out / "pipeline/unet/diffusion_pytorch_model.safetensors").read_bytes() == weights


def test_output_loads_as_a_one_step_generator(run: Path) -> None:
    denoiser = efface.load(run)
    noise = torch.randn(2, 1, 8, 8)
    condition = denoiser.encode([1, 2])
    images = draw_images(denoiser, OneStep(denoiser.schedule.num_timesteps - 1), condition, [0, 1])
    assert images.shape == noise.shape


def test_stock_diffusers_draws_the_same_without_efface(
    run: Path, without_efface: Callable[..., None], tmp_path: Path
) -> None:
    """In a process where importing efface fails."""
    denoiser = efface.load(run)
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(3, 1, 8, 8, generator=generator)
    sampler = OneStep(denoiser.schedule.num_timesteps - 1)
    with torch.no_grad():
        own = sampler.draw(denoiser, noise, denoiser.encode([1, 4, 9]))
    script = f"""
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
    without_efface(script)
    stock = torch.load(tmp_path / "stock.pt", weights_only=True)
    assert_close(stock["by_hand"], own, rtol=0, atol=1e-6)
    assert_close(stock["images"], own.clamp(-1, 1).add(1).div(2), rtol=0, atol=1e-6)


def test_latent_transformer_with_vae_runs_end_to_end(
    small, tiny_dit: Callable[[], Denoiser], tmp_path: Path
) -> None:
    save_pipeline(tiny_dit(), tmp_path / "dit")
    request = efface.ForgetClass(labels=(2,), replacement=(5,))
    out = efface.forget(tmp_path / "dit", request, tmp_path / "out", changes=small)
    index = json.loads((out / "pipeline" / "model_index.json").read_text())
    assert index["_class_name"] == "DiTPipeline"
    assert efface.load(out).schedule.num_timesteps < 1000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_random_replacement_is_spread_over_the_other_labels(tmp_path: Path) -> None:
    """The most frequent label has at most twice its share, as a mean over three seeds."""
    shares = []
    for seed in range(3):
        request = efface.ForgetClass(labels=(4,))
        run = efface.forget(
            "zoo:digits",
            request,
            tmp_path / str(seed),
            recipe="digits-sfd",
            changes=[f"train.seed={seed}"],
            measure=False,
        )
        info = inspect_model(run)
        denoiser = load(info)
        sampler, labels = default_sampler(info, denoiser), [4] * 3000
        images = draw_images(denoiser, sampler, denoiser.encode(labels), range(3000))
        judge = load_judge(inspect_model("zoo:digits").folder / "judge")
        seen = judge.observe(images, np.array(labels)).seen
        counts = np.bincount(seen, minlength=10)
        assert counts[4] <= 30
        shares.append(counts.max() / len(labels))
    assert np.mean(shares) <= 2 / 9
