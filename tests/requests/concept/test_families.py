"""Every family of text-to-image models, from request to report and into stock diffusers."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from efface.attacks import goals, weak
from efface.attacks import names as attacks
from efface.attacks import resolve as resolve_attack
from efface.diffusion.loading import load, load_text, save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler
from efface.methods import names, resolve
from efface.records import Attacks, read_attacks, read_record
from efface.requests.base import ForgetMemorised
from efface.runs.attack import attack
from efface.runs.forget import forget
from tests.attacks.test_attacks import TINY
from tests.conftest import BAG, SMALL
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.metrics.detectors import MULTI, make_random
from tests.metrics.test_clip import folder as clip_folder  # noqa: F401
from tests.requests.memorised import test_runs as test_memorised_runs

pytestmark = pytest.mark.slow

KINDS = ("sd", "sd_v", "sdxl", "sd3", "sd35", "flux", "flux_schnell")
KINDS += ("pixart_alpha", "pixart_sigma")
ON_PICTURES = [name for name in names() if "forget_images" in resolve(name).needs]
PROMPTS = ["a bag", "a cat"]
ASKING = {n for n in attacks() if {"concept", "memorised"} <= resolve_attack(n).kinds}
Folders = Callable[[str], Path]
DRAWING = """
import sys
sys.modules["efface"] = None
import torch
from diffusers import DiffusionPipeline
shapes, folders, prompts, out = {given!r}
drawn = {{}}
for kind, folder in folders.items():
    noise = torch.randn(shapes[kind], generator=torch.Generator().manual_seed(5))
    pipe = DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    more = {{"guidance_scale": 1.0}}
    if kind.startswith("flux"):
        noise = pipe._pack_latents(noise, *noise.shape)
        more = {{"height": 16, "width": 16}}
    if kind.startswith("pixart"):
        more |= {{"clean_caption": False, "use_resolution_binning": False}}
    drawn[kind] = pipe(prompts, latents=noise, num_inference_steps=1, output_type="pt", **more)
    drawn[kind] = drawn[kind].images
torch.save(drawn, out)
"""


@pytest.fixture(scope="module")
def models(pipelines: Folders, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Folder of a family's tiny model; FLUX does not name its size until it was saved with one."""
    root = tmp_path_factory.mktemp("flux")

    def folder(kind: str) -> Path:
        if not kind.startswith("flux"):
            return pipelines(kind)
        if not (root / kind).exists():
            save_pipeline(load_text(pipelines(kind), 8), root / kind)
        return root / kind

    return folder


@pytest.fixture(scope="module")
def runs(models: Folders, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("runs")

    def run(kind: str) -> Path:
        if not (root / kind).exists():
            forget(models(kind), BAG, root / kind, changes=SMALL)
        return root / kind

    return run


def forget_memorised(model: Path, folder: Path, method: str) -> Path:
    """A run in `folder` that forgets a picture of random weights."""
    controls = folder / "controls.txt"
    controls.write_text("\n".join(test_memorised_runs.WORDS))
    request = ForgetMemorised(
        prompt="a red bag", modified_prompt="a bag", control_prompts=str(controls)
    )
    changes = [c for c in test_memorised_runs.SMALL if not c.startswith("method.")]
    changes += ["memorised.split=kmeans"]  # pictures of random weights are alike
    if resolve(method)().asks_prior:
        changes += ["memorised.original_share=0"]
    if method == "siss":  # whose default norm is that of other latents
        changes += ["method.rule_name=relative_norm"]
    return forget(model, request, folder / "run", method=method, changes=changes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_concept_is_forgotten_from_request_to_report(runs: Folders, kind: str) -> None:
    out = runs(kind)
    record = read_record(out)
    assert record.status == "finished" and record.sampler["passes"] == 1
    changed = {k for k, v in record.output.items() if v != record.model["weights"][k]}
    network = "unet" if kind in ("sd", "sd_v", "sdxl") else "transformer"
    assert {name.split("/")[0] for name in changed} == {network}
    assert (out / "report.html").exists() and (out / "samples" / "after.png").exists()


def test_stock_diffusers_draws_what_was_measured(runs: Folders, tmp_path: Path) -> None:
    """In a process where importing efface fails: one step, the same noise."""
    own, shapes = {}, {}
    for kind in KINDS:
        denoiser = load(runs(kind))
        shapes[kind] = (2, *denoiser.sample_shape)
        noise = torch.randn(shapes[kind], generator=torch.Generator().manual_seed(5))
        sampler = default_sampler(inspect_model(runs(kind)), denoiser)
        with torch.no_grad():
            x0 = sampler.draw(denoiser, noise, denoiser.encode(PROMPTS), [])
            own[kind] = denoiser.codec.decode(x0).clamp(-1, 1).add(1).div(2)
    folders = {kind: str(runs(kind) / "pipeline") for kind in KINDS}
    file = tmp_path / "stock.pt"
    script = DRAWING.format(given=(shapes, folders, PROMPTS, str(file)))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    for kind, stock in torch.load(file, weights_only=True).items():
        assert_close(stock, own[kind], rtol=0, atol=1e-5)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings of all attacks for a run of a few seconds."""
    monkeypatch.setattr(weak, "SAMPLES", 4)
    monkeypatch.setattr(weak, "STEPS", 2)
    monkeypatch.setattr(weak, "ROWS", 4)
    monkeypatch.setattr(weak, "RATES", (2e-3,))
    monkeypatch.setattr(goals, "EXAMPLE_STEPS", 2)
    settings = {name: {"sampling_steps": 2} | TINY[name] | {"samples": 4} for name in attacks()}
    return [
        f"{name}.{key}={list(value) if isinstance(value, tuple) else value}"
        for name, given in settings.items()
        for key, value in given.items()
    ]


def check_attacks(found: Attacks, run: Path) -> None:
    """All attacks that apply were made, and every model was drawn from at every point."""
    assert [result.attack for result in found.results] == [n for n in attacks() if n in ASKING]
    assert read_attacks(run) == Attacks.model_validate_json(found.model_dump_json())
    for result in found.results:
        lines = result.curve.lines
        assert {"result", "baseline", "weak"} <= lines.keys(), result.attack
        for points in lines.values():
            assert points and all(math.isfinite(p.x) and 0 <= p.value <= 1 for p in points)
    (relearned,) = (result for result in found.results if result.attack == "relearn")
    assert [p.x for p in relearned.curve.lines["result"]] == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_every_attack_on_a_forgotten_concept_is_made(
    runs: Folders, short: list[str], tmp_path: Path, kind: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs(kind), run)
    detector = make_random(tmp_path / "detector", MULTI, seed=4)
    looks = [f"evaluate.detector={str(detector)!r}", 'evaluate.detector_labels=["bag"]']
    found = attack(run, changes=[*looks, "evaluate.detector_threshold=0.4", *short])
    check_attacks(found, run)
    for result in found.results:
        multi = "result_multi_step" in result.curve.lines
        assert multi == (result.attack in ("relearn", "benign_finetune"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_attack_on_a_memorised_picture_is_made(
    models: Folders, short: list[str], tmp_path: Path, kind: str
) -> None:
    run = forget_memorised(models(kind), tmp_path, "siss")
    check_attacks(attack(run, changes=short), run)


@pytest.mark.parametrize("method", ON_PICTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_memorised_picture_is_forgotten_from_request_to_report(
    models: Folders, tmp_path: Path, kind: str, method: str
) -> None:
    out = forget_memorised(models(kind), tmp_path, method)
    record = read_record(out)
    assert record.status == "finished" and record.settings["method"]["name"] == method
    assert record.output != record.model["weights"]
    assert (out / "report.html").exists()
