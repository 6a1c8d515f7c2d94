"""Fixtures of tests of many folders: tiny real models, runs, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import diffusers
import pytest
import torch

import efface.cli
from efface.data.images import load_images
from efface.diffusion.denoiser import Denoiser, VAECodec
from efface.diffusion.loading import build_denoiser, save_pipeline
from efface.diffusion.text.denoiser import TextDenoiser
from efface.evaluation import change
from efface.runs.forget import forget
from efface.training import guard
from efface.zoo.build.classifier import fit_classifier
from efface.zoo.build.settings import ClassifierSettings
from tests.counting import counting_encoded
from tests.text_pipelines import BUILD, load_text
from tests.tiny import BAG, GUARDED, KEYWORDS, SMALL, make_tiny_unet

torch.set_num_threads(1)

Pipelines = Callable[[str], Path]
# Reads what to run line by line, and answers each with what went wrong.
STOCK = """
import json, sys, traceback
sys.modules["efface"] = None  # any import of efface raises
answers, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    code, sys.argv[1:] = json.loads(line)
    try:
        exec(code, {"__name__": "__main__"})
        error = None
    except Exception:
        error = traceback.format_exc()
    print(json.dumps(error), file=answers, flush=True)
"""


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measurements of the tests stay among themselves."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["EFFACE_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _few_samples() -> Iterator[None]:
    """The guard and the measure of change draw a fourth; what each finds is tested beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "SAMPLES_PER_CONDITION", 4)
        patch.setattr(change, "SAMPLES", 16)
        yield


@pytest.fixture(scope="session")
def tiny_unet() -> Callable[..., Denoiser]:
    return make_tiny_unet


@pytest.fixture(scope="session")
def tiny_dit() -> Callable[[], Denoiser]:
    def make() -> Denoiser:
        torch.manual_seed(0)
        network = diffusers.DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            patch_size=2,
            sample_size=4,
            in_channels=4,
            out_channels=8,
            num_embeds_ada_norm=10,
            norm_num_groups=4,
        )
        vae = diffusers.AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=["DownEncoderBlock2D", "DownEncoderBlock2D"],
            up_block_types=["UpDecoderBlock2D", "UpDecoderBlock2D"],
            block_out_channels=(8, 8),
            norm_num_groups=4,
            latent_channels=4,
            sample_size=8,
        ).eval()
        scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=True)
        return build_denoiser(network.eval(), scheduler, 10, 10, VAECodec(vae))

    return make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline of a tiny class-conditional model, with a judge beside the weights."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_pipeline(make_tiny_unet(), folder)
    settings = ClassifierSettings(widths=(8, 8), epochs=1)
    digits = load_images("digits", "train"), load_images("digits", "test")
    fit_classifier("tiny judge", *digits, settings).save(folder / "judge")
    return folder


@pytest.fixture
def fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the command line in this process; returns its one sentence."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["efface", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            efface.cli.main()
        assert stopped.value.code not in (0, None)
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error

    return run


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a family's tiny pipeline, written once by stock diffusers."""
    root = tmp_path_factory.mktemp("text")

    def folder(kind: str) -> Path:
        if not (root / kind).exists():
            BUILD[kind]().save_pretrained(root / kind)
        return root / kind

    return folder


@pytest.fixture(scope="session")
def sized_pipelines(
    pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The same; FLUX does not name its size until it was saved with one."""
    root = tmp_path_factory.mktemp("sized")

    def folder(kind: str) -> Path:
        if not kind.startswith("flux"):
            return pipelines(kind)
        if not (root / kind).exists():
            save_pipeline(load_text(pipelines(kind)), root / kind)
        return root / kind

    return folder


@pytest.fixture(scope="session")
def text_model(pipelines: Callable[[str], Path]) -> Callable[..., TextDenoiser]:
    """A family's tiny denoiser, loaded once and not to be changed, or a fresh one."""
    loaded: dict[str, TextDenoiser] = {}

    def model(kind: str, fresh: bool = False) -> TextDenoiser:
        if fresh:
            return load_text(pipelines(kind))
        if kind not in loaded:
            loaded[kind] = load_text(pipelines(kind))
        return loaded[kind]

    return model


@pytest.fixture(scope="session")
def encoded_prompts() -> dict[str, int]:
    """Prompts that went through the first text encoder in each of the `concept_runs`."""
    return {}


@pytest.fixture(scope="session")
def concept_runs(
    pipelines: Pipelines,
    encoded_prompts: dict[str, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """A run on a kind of model, made once; that on Stable Diffusion has a collapse guard."""
    root = tmp_path_factory.mktemp("runs")

    def run(kind: str) -> Path:
        if not (root / kind).exists():
            changes = GUARDED if kind == "sd" else SMALL
            with counting_encoded() as rows:
                forget(pipelines(kind), BAG, root / kind, changes=changes)
            encoded_prompts[kind] = sum(rows)
        return root / kind

    return run


@pytest.fixture
def keywords(tmp_path: Path) -> Path:
    path = tmp_path / "keywords.txt"
    path.write_text("\n".join(KEYWORDS))
    return path


@pytest.fixture(scope="session")
def without_efface(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., None]]:
    """Runs code, with arguments, in one process where efface cannot be imported."""
    home = tmp_path_factory.mktemp("hf")  # remote code is copied there
    process = subprocess.Popen(
        [sys.executable, "-c", STOCK],
        env=os.environ | {"HF_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    given, answers = process.stdin, process.stdout

    def run(code: str, *arguments: object) -> None:
        print(json.dumps([code, list(map(str, arguments))]), file=given, flush=True)
        error = json.loads(answers.readline())
        assert error is None, error

    yield run
    given.close()
    process.wait()
