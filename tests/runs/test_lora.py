"""Runs that train adapters over one base, from request to result, on tiny real models."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from efface.data.batch import ImageBank
from efface.data.source import PairSource
from efface.diffusion.adapters import share_network
from efface.diffusion.denoiser import Denoiser
from efface.errors import RequestError
from efface.methods.siss import SISS
from efface.records import read_record
from efface.requests.distil.request import Distil
from efface.runs.forget import forget
from efface.training.networks import make_networks
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer
from tests.tiny import BAG, SMALL

LORA = [*SMALL, "train.lora_rank=3", "train.lora_alpha=6.0", "train.gradient_checkpointing=true"]
GUARDED = [*LORA, "train.guard_every=2"]
NETWORKS = ("unet", "transformer")
Pipelines = Callable[[str], Path]


@pytest.fixture(scope="module")
def run(pipelines: Pipelines, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sd"
    return forget(pipelines("sd"), BAG, out, changes=GUARDED, measure=False)


def weights(pipeline: Path) -> dict[str, torch.Tensor]:
    (file,) = [f for f in pipeline.glob("*/*.safetensors") if f.parent.name in NETWORKS]
    return load_file(file)


def test_a_base_that_is_there_only_as_a_variant_gives_plain_files(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(pipelines("sd"), tmp_path / "base"))
    for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        plain = base / part / f"{stem}.safetensors"
        half = {name: w.half() for name, w in load_file(plain).items()}
        save_file(half, plain.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
        plain.unlink()
    out = forget(base, BAG, tmp_path / "run", changes=LORA, measure=False)
    files = {f.relative_to(out / "pipeline").as_posix() for f in out.rglob("pipeline/*/*")}
    plain = {f.relative_to(pipelines("sd")).as_posix() for f in pipelines("sd").glob("*/*")}
    assert files == plain
    moved = load_file(out / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {w.dtype for w in moved.values()} == {torch.float32}
    stock = diffusers.StableDiffusionPipeline.from_pretrained(out / "pipeline")
    assert stock.text_encoder.dtype == torch.float32
    stock.load_lora_weights(str(out / "lora"))


def checkpoint(out: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / "step_00000002" / f"{name}.safetensors")


def lora(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "lora" / "pytorch_lora_weights.safetensors")


def change(base: dict[str, torch.Tensor], out: Path, layer: str) -> torch.Tensor:
    return weights(out / "pipeline")[f"{layer}.weight"] - base[f"{layer}.weight"]


def test_a_checkpoint_holds_adapters_alone(run: Path) -> None:
    for name in ("student", "fake_score", "average", "last_good"):
        assert all(".lora_" in key for key in checkpoint(run, name))
    moved = [
        float((t - checkpoint(run, "average")[k]).abs().max())
        for k, t in checkpoint(run, "student").items()
    ]
    assert max(moved) > 0
    assert read_record(run).settings["train"]["lora_rank"] == 3


def test_the_pipeline_is_the_base_plus_the_lora(run: Path, pipelines: Pipelines) -> None:
    """W0 + B A where the LoRA has a layer, and bit for bit the base elsewhere."""
    base, factors, delivered = weights(pipelines("sd")), lora(run), weights(run / "pipeline")
    layers = {key.removeprefix("unet.").split(".lora")[0] for key in factors}
    assert len(layers) == 32
    for layer in layers:
        down, up = (factors[f"unet.{layer}.lora_{side}.weight"] for side in "AB")
        assert_close(change(base, run, layer), up @ down, rtol=0, atol=1e-7)
    moved = {name for name in base if not base[name].equal(delivered[name])}
    assert moved and moved <= {f"{layer}.weight" for layer in layers}


def test_a_resumed_run_with_a_lora_is_the_same_run_bit_for_bit(
    run: Path, pipelines: Pipelines, tmp_path: Path
) -> None:
    def stop(step: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        forget(pipelines("sd"), BAG, out, changes=GUARDED, on_step=stop)
    forget(pipelines("sd"), BAG, out, changes=GUARDED, resume=True, measure=False)
    for whole, resumed in (
        (lora(run), lora(out)),
        (weights(run / "pipeline"), weights(out / "pipeline")),
        (checkpoint(run, "student_optimizer"), checkpoint(out, "student_optimizer")),
    ):
        assert all(whole[name].equal(resumed[name]) for name in whole)


def test_a_base_in_bfloat16_gives_the_unrounded_base_plus_a_float32_lora(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    changes = [*LORA, "train.base_dtype='bfloat16'"]
    out = forget(pipelines("sd"), BAG, tmp_path / "out", changes=changes, measure=False)
    for name in ("student", "student_optimizer", "average"):
        assert {t.dtype for t in checkpoint(out, name).values()} == {torch.float32}
    base, delivered = weights(pipelines("sd")), weights(out / "pipeline")
    assert {t.dtype for t in delivered.values()} == {torch.float32}
    assert all(base[n].equal(delivered[n]) for n in base if ".attn" not in n)
    layer = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    down, up = (lora(out)[f"unet.{layer}.lora_{side}.weight"] for side in "AB")
    assert_close(change(base, out, layer), up @ down, rtol=0, atol=1e-7)


@pytest.mark.slow
def test_two_stages_keep_the_adapters_of_the_first(pipelines: Pipelines, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\na dog")
    distil = Distil(retain_prompts=str(tmp_path / "prompts.txt"))
    own = [change for change in LORA if not change.startswith("concept.")]
    first = forget(pipelines("sd"), distil, tmp_path / "first", changes=own, measure=False)
    still = [*LORA, "train.learning_rate=0.0"]  # so that the start is what is written
    second = tmp_path / "second"
    forget(pipelines("sd"), BAG, second, changes=still, start=first, measure=False)
    begun, written = lora(first), lora(second)
    assert all(begun[name].equal(written[name]) for name in begun)
    with pytest.raises(
        RequestError, match="train.lora_rank 3, and this run with train.lora_rank left out"
    ):
        forget(pipelines("sd"), BAG, tmp_path / "third", changes=SMALL, start=first)


def test_a_pipeline_that_loads_no_lora_gets_the_whole_pipeline_alone(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    kind = "pixart_sigma"
    out = forget(pipelines(kind), BAG, tmp_path / "out", changes=LORA, measure=False)
    base, delivered = weights(pipelines(kind)), weights(out / "pipeline")
    assert any(not base[name].equal(delivered[name]) for name in base)
    assert not (out / "lora").exists()


@pytest.mark.parametrize("kind", [pytest.param("sdxl", marks=pytest.mark.slow), "sd3"])
def test_stock_diffusers_draws_the_pictures_of_a_run_from_the_lora_that_it_wrote(
    pipelines: Pipelines, tmp_path: Path, kind: str
) -> None:
    """As `lora/README.md` says: the base, the LoRA and its scheduler, in one step."""
    changes = [*LORA, "train.learning_rate=0.03", "train.ema_decay=0.0"]
    out = forget(pipelines(kind), BAG, tmp_path / "out", changes=changes, measure=False)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))

    def drawn(pipeline: Any) -> torch.Tensor:
        pipeline.set_progress_bar_config(disable=True)
        options = {"num_inference_steps": 1, "guidance_scale": 1.0, "output_type": "pt"}
        asked = ["a bag", "a cat"]
        return pipeline(asked, height=16, width=16, latents=noise.clone(), **options).images

    stock = diffusers.DiffusionPipeline.from_pretrained(pipelines(kind))
    stock.scheduler = type(stock.scheduler).from_pretrained(out / "lora", subfolder="scheduler")
    original = drawn(stock)
    stock.load_lora_weights(out / "lora", adapter_name="efface")
    whole = drawn(diffusers.DiffusionPipeline.from_pretrained(out / "pipeline"))
    assert_close(drawn(stock), whole, rtol=0, atol=1e-5)
    assert (whole - original).abs().max() > 1e-3
    said = (out / "lora" / "README.md").read_text()
    assert f"{type(stock.scheduler).__name__}.from_pretrained(THIS_FOLDER" in said


def test_siss_trains_an_adapter_and_nothing_else(
    tiny_unet: Callable[..., Denoiser], tmp_path: Path
) -> None:
    """The two gradients of its rule are the adapter's alone."""
    plain = tiny_unet(conditional=False)
    before = {name: t.clone() for name, t in plain.network.state_dict().items()}
    config = TrainSettings(lora_rank=2, steps=3, batch_size=4, learning_rate=1e-2, ema_decay=0.0)
    method: Any = SISS()
    networks = make_networks(method, share_network(plain), config)
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(n, 1, 8, 8, generator=generator).clamp(-1, 1) for n in (6, 2)]
    source = PairSource(bank=ImageBank(*images, 0.25), retain_rows=4, forget_rows=4, seed=0)
    result = Trainer(method, networks, source, config, tmp_path).run()
    state = result.denoiser.network.state_dict()
    assert state and all(".lora_" in name for name in state)
    assert any(bool(t.any()) for name, t in state.items() if "lora_B" in name)
    assert all(t.equal(before[name]) for name, t in plain.network.state_dict().items())


@pytest.mark.slow
def test_two_processes_with_a_lora_equal_one(tiny_model: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    changes = ["train.steps=4", "train.batch_size=8", "method.forget_share=0.5"]
    changes += ["train.lora_rank=4", "train.gradient_checkpointing=true"]
    more = [part for change in changes for part in ("--set", change)]
    for name, launcher in (("one", [sys.executable]), ("two", torchrun)):
        out = ["--out", str(tmp_path / name), "--no-evaluate"]
        given = ["-m", "efface", "forget", "class", str(tiny_model), "--label", "0", *out, *more]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
        subprocess.run([*launcher, *given], check=True, env=environment)
    one, two = (weights(tmp_path / name / "pipeline") for name in ("one", "two"))
    base = weights(tiny_model)
    assert any(not base[name].equal(one[name]) for name in base)
    for name, tensor in one.items():
        assert_close(tensor, two[name], rtol=0, atol=1e-5)
