"""Every family of text-to-image models, from request to report and into stock diffusers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler
from efface.records import read_record
from efface.requests.concept.finding import ConceptGoal
from efface.runs.attack import attack
from efface.runs.forget import forget
from tests.attacks.shortening import check_attacks, shorten_attacks
from tests.tiny import BAG, SMALL

pytestmark = pytest.mark.slow

KINDS = ("sd", "sd_v", "sdxl", "sd3", "sd35", "flux", "flux_schnell")
KINDS += ("pixart_alpha", "pixart_sigma")
PROMPTS = ["a bag", "a cat"]
Folders = Callable[[str], Path]
GENERATING = """
import torch
from diffusers import DiffusionPipeline
shapes, folders, prompts, out = {given!r}
made = {{}}
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
    made[kind] = pipe(prompts, latents=noise, num_inference_steps=1, output_type="pt", **more)
    made[kind] = made[kind].images
torch.save(made, out)
"""


@pytest.fixture(scope="module")
def runs(sized_pipelines: Folders, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("runs")

    def run(kind: str) -> Path:
        if not (root / kind).exists():
            forget(sized_pipelines(kind), BAG, root / kind, changes=SMALL)
        return root / kind

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_concept_is_forgotten_from_request_to_report(runs: Folders, kind: str) -> None:
    out = runs(kind)
    record = read_record(out)
    assert record.status == "finished" and record.sampler["passes"] == 1
    changed = {k for k, v in record.output.items() if v != record.model["weights"][k]}
    network = "unet" if kind in ("sd", "sd_v", "sdxl") else "transformer"
    assert {name.split("/")[0] for name in changed} == {network}
    assert (out / "report.html").exists() and (out / "samples" / "after.png").exists()


def test_stock_diffusers_generates_what_was_measured(
    runs: Folders, without_efface: Callable[..., None], tmp_path: Path
) -> None:
    """In a process where importing efface fails: one step, the same noise."""
    own, shapes = {}, {}
    for kind in KINDS:
        denoiser = load(runs(kind))
        shapes[kind] = (2, *denoiser.sample_shape)
        noise = torch.randn(shapes[kind], generator=torch.Generator().manual_seed(5))
        sampler = default_sampler(inspect_model(runs(kind)), denoiser)
        with torch.no_grad():
            x0 = sampler.draw(denoiser, noise, denoiser.encode(PROMPTS))
            own[kind] = denoiser.codec.decode(x0).clamp(-1, 1).add(1).div(2)
    folders = {kind: str(runs(kind) / "pipeline") for kind in KINDS}
    file = tmp_path / "stock.pt"
    without_efface(GENERATING.format(given=(shapes, folders, PROMPTS, str(file))))
    for kind, stock in torch.load(file, weights_only=True).items():
        assert_close(stock, own[kind], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_attack_on_a_forgotten_concept_is_run(
    runs: Folders,
    detected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs(kind), run)
    found = attack(run, changes=[*detected[:3], *shorten_attacks(monkeypatch)])
    check_attacks(found, run, ConceptGoal)
    for result in found.results:
        multi = "result_multi_step" in result.curve.lines
        assert multi == (result.attack in ("relearning", "benign_fine_tuning"))
