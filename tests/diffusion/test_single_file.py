"""A checkpoint in one file becomes the pipeline that it was made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

import efface
from efface.diffusion.loading import load
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.errors import EffaceError, ModelError
from tests.single_files import write_single_file

Pipelines = Callable[[str], Path]


@pytest.fixture(scope="module")
def parts(pipelines: Pipelines, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and a folder of the same architecture without any weights."""
    folder = tmp_path_factory.mktemp("single")
    stock = diffusers.StableDiffusionPipeline.from_pretrained(pipelines("sd"))
    config = Path(shutil.copytree(pipelines("sd"), folder / "config"))
    for file in config.rglob("*.safetensors"):
        file.unlink()
    return write_single_file(stock, folder / "model.safetensors"), config


def test_the_folder_holds_the_weights_of_the_file(
    parts: tuple[Path, Path], pipelines: Pipelines, tmp_path: Path
) -> None:
    info = efface.convert(*parts, tmp_path / "model")
    assert info.family is not None and info.folder == tmp_path / "model"
    for file in pipelines("sd").glob("*/*.safetensors"):
        made = load_file(tmp_path / "model" / file.parent.name / file.name)
        expected = load_file(file)
        assert made.keys() == expected.keys()
        assert all(torch.equal(made[name], expected[name]) for name in made)
    denoiser = as_text_denoiser(load(tmp_path / "model"))
    assert denoiser.encode(["a bag"]) is not None


def test_the_command_says_what_it_made(
    parts: tuple[Path, Path], fails: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "model"
    said = fails("convert", parts[0], "--config", tmp_path / "none", "--out", out)
    assert "no model at" in said and not out.exists()
    assert "`efface convert` makes one" in fails("sample", parts[0], "--out", tmp_path / "images")
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert "mine" in str(list(out.iterdir()))
    fails("convert", parts[0], "--config", parts[1], "--out", out)
    assert (out / "mine.txt").read_text() == "mine"


def broken(parts: tuple[Path, Path], folder: Path, what: str) -> tuple[Path, Path]:
    checkpoint = Path(shutil.copy(parts[0], folder / "model.safetensors"))
    config = Path(shutil.copytree(parts[1], folder / "config"))
    tensors = load_file(checkpoint)
    match what:
        case "missing":
            checkpoint.unlink()
        case "cut off":
            checkpoint.write_bytes(checkpoint.read_bytes()[:100])
        case "a pickle":
            checkpoint = checkpoint.rename(checkpoint.with_suffix(".ckpt"))
        case "a LoRA":
            lora = {"lora_unet_mid_block_attentions_0.lora_down.weight": torch.zeros(1, 1)}
            save_file(lora, checkpoint)
        case "without a network":
            network = "model.diffusion_model"
            save_file({n: t for n, t in tensors.items() if not n.startswith(network)}, checkpoint)
        case "of other sizes":
            path = config / "unet" / "config.json"
            content = json.loads(path.read_text())
            path.write_text(json.dumps(content | {"block_out_channels": [4, 8]}))
        case "another pipeline":
            path = config / "model_index.json"
            content = json.loads(path.read_text())
            path.write_text(json.dumps(content | {"_class_name": "DDPMPipeline"}))
        case "a pickle in the folder":
            (config / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"")
        case "without an index":
            (config / "model_index.json").unlink()
    return checkpoint, config


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("missing", "no checkpoint at"),
        ("cut off", "not a readable safetensors file"),
        ("a pickle", "is a pickle"),
        ("a LoRA", "is a LoRA"),
        ("without a network", "unet|load"),
        ("of other sizes", "could not be loaded"),
        ("another pipeline", "is a DDPMPipeline"),
        ("a pickle in the folder", "diffusion_pytorch_model.bin is a pickle"),
        ("without an index", "model_index.json"),
    ],
)
def test_what_cannot_be_converted_is_one_sentence_and_leaves_nothing(
    parts: tuple[Path, Path], tmp_path: Path, what: str, named: str
) -> None:
    checkpoint, config = broken(parts, tmp_path, what)
    with pytest.raises(ModelError, match=named):
        efface.convert(checkpoint, config, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_a_folder_that_is_not_empty_is_left_alone(parts: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(EffaceError):
        efface.convert(*parts, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
