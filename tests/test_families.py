"""Every family of text-to-image models, from request to report and into stock diffusers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from efface.diffusion.loading import load, load_text, save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler
from efface.methods import names, resolve
from efface.records import read_record
from efface.requests import ForgetMemorised
from efface.runs import forget
from tests import test_memorised_runs
from tests.conftest import BAG, SMALL
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.metrics.test_clip import folder as clip_folder  # noqa: F401

pytestmark = pytest.mark.slow

KINDS = ("sd", "sd_v", "sdxl", "sd3", "flux", "pixart_alpha", "pixart_sigma")
ON_PICTURES = [name for name in names() if "forget_images" in resolve(name).needs]
PROMPTS = ["a bag", "a cat"]
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
    more = {{}} if kind == "flux" else {{"guidance_scale": 1.0}}
    if kind == "flux":
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
    flux = tmp_path_factory.mktemp("flux") / "pipeline"

    def folder(kind: str) -> Path:
        if kind != "flux":
            return pipelines(kind)
        if not flux.exists():
            save_pipeline(load_text(pipelines("flux"), 8), flux)
        return flux

    return folder


@pytest.fixture(scope="module")
def runs(models: Folders, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("runs")

    def run(kind: str) -> Path:
        if not (root / kind).exists():
            forget(models(kind), BAG, root / kind, changes=SMALL)
        return root / kind

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_concept_is_forgotten_from_request_to_report(runs: Folders, kind: str) -> None:
    out = runs(kind)
    record = read_record(out)
    assert record.status == "finished" and record.sampler["passes"] == 1
    changed = {k for k, v in record.output.items() if v != record.model["weights"][k]}
    network = "unet" if kind.startswith("sd") and kind != "sd3" else "transformer"
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


@pytest.mark.parametrize(
    ("kind", "method"),
    [(kind, "siss") for kind in KINDS]
    + [(kind, name) for kind in ("sd", "sd_v", "sd3") for name in ON_PICTURES if name != "siss"],
)
def test_a_memorised_picture_is_forgotten_from_request_to_report(
    models: Folders, tmp_path: Path, kind: str, method: str
) -> None:
    controls = tmp_path / "controls.txt"
    controls.write_text("\n".join(test_memorised_runs.WORDS))
    request = ForgetMemorised(
        prompt="a red bag", modified_prompt="a bag", control_prompts=str(controls)
    )
    changes = [c for c in test_memorised_runs.SMALL if not c.startswith("method.")]
    changes += ["memorised.split=kmeans"]  # pictures of random weights are alike
    if resolve(method)().asks_prior:
        changes += ["memorised.original_share=0"]
    out = forget(models(kind), request, tmp_path / "run", method=method, changes=changes)
    record = read_record(out)
    assert record.status == "finished" and record.settings["method"]["name"] == method
    assert record.output != record.model["weights"]
    assert (out / "report.html").exists()
