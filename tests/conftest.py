"""Tiny real models and the command line, shared by all tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start: sums round alike
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers

import efface
import efface.cli
from efface.data.images import load_images
from efface.diffusion.codec import VAECodec
from efface.diffusion.denoiser import ClassDenoiser, Denoiser
from efface.diffusion.loading import build_denoiser, save_pipeline
from efface.requests.concept.request import ForgetConcept
from efface.runs.forget import forget
from efface.zoo.build.classifier import train_classifier
from efface.zoo.build.images import new_denoiser
from efface.zoo.build.settings import ClassifierSettings, NetworkSettings
from tests.diffusion.text.conftest import pipelines as pipelines

torch.set_num_threads(1)

# Settings of tiny runs on text-to-image models.
GUIDANCES = ("teacher_guidance", "fake_score_guidance", "fake_score_training_guidance")
SMALL = [
    "train.steps=2",
    "train.batch_size=4",
    "train.learning_rate=1e-3",
    "train.checkpoint_every=1",
    "train.mixed_precision=no",
    "train.gradient_checkpointing=false",
    "method.forget_share=0.5",
    *(f"method.{which}=1.5" for which in GUIDANCES),
    "method.fake_score_condition_dropout=0.25",
    'concept.templates=["a {}"]',
    'concept.subjects=["cat", "dog"]',
    'concept.people=["man", "woman"]',
    "evaluate.forget_samples=10",
    "evaluate.retain_samples=10",
    "evaluate.baseline_steps=1",
    "evaluate.guidance=1.0",
]
GUARDED = [*SMALL, "train.guard_every=2"]
BAG = ForgetConcept(concept="bag", replacement="coat")
Pipelines = Callable[[str], Path]
KEYWORDS = ("red", "green")
SCHEDULER = {"zero_terminal_snr": "rescale_betas_zero_snr", "clip_sample": "clip_sample"}


def make_tiny_unet(conditional: bool = True, seed: int = 0, **overrides: object) -> Denoiser:
    """8x8x1, channels 8 and 16, ten classes and a null label; random weights from `seed`.

    `overrides` are settings of the network, or of the scheduler.
    """
    torch.manual_seed(seed)
    scheduler = {
        theirs: overrides.pop(name) for name, theirs in SCHEDULER.items() if name in overrides
    }
    settings = NetworkSettings(**({"channels": (8, 16), "norm_groups": 4} | overrides))
    made = new_denoiser(settings, load_images("digits", "test"), conditional)
    classes = made.num_classes if isinstance(made, ClassDenoiser) else None
    changed = diffusers.DDIMScheduler.from_config(made.scheduler.config, **scheduler)
    return build_denoiser(made.network, changed, classes, classes)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measurements of the tests stay among themselves."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["EFFACE_CACHE"] = str(folder)
    return folder


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
    train_classifier("tiny judge", *digits, settings).save(folder / "judge")
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


@contextlib.contextmanager
def counting_encoded() -> Iterator[list[int]]:
    """Rows of every pass of any text encoder."""
    rows: list[int] = []

    def count(module: torch.nn.Module, args: Any, kwargs: Any, _output: Any) -> None:
        if isinstance(module, transformers.CLIPTextModel):
            rows.append(len(args[0] if args else kwargs["input_ids"]))

    handle = torch.nn.modules.module.register_module_forward_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


@contextlib.contextmanager
def counting_passes() -> Iterator[list[str]]:
    """The name of the network of every pass of a diffusers model, a VAE's among them."""
    passes: list[str] = []

    def count(module: torch.nn.Module, _args: Any, _output: Any) -> None:
        if isinstance(module, diffusers.ModelMixin):
            passes.append(type(module).__name__)

    handle = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        yield passes
    finally:
        handle.remove()


def assert_drawn_once(
    run: Path, changes: Sequence[str] = (), retrained: Path | None = None
) -> None:
    """A run that was measured is measured again without its files by no network pass."""
    before = (run / "evaluation.json").read_bytes()
    sheets = {file.name: file.read_bytes() for file in (run / "samples").iterdir()}
    (run / "evaluation.json").unlink()
    shutil.rmtree(run / "samples")
    with counting_passes() as passes:
        efface.evaluate(run, changes=changes, retrained=retrained)
    assert passes == []
    assert (run / "evaluation.json").read_bytes() == before
    assert {file.name: file.read_bytes() for file in (run / "samples").iterdir()} == sheets


@contextlib.contextmanager
def without_store() -> Iterator[None]:
    folder = os.environ["EFFACE_CACHE"]
    os.environ["EFFACE_CACHE"] = "off"
    try:
        yield
    finally:
        os.environ["EFFACE_CACHE"] = folder


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
