"""Where models and their parts lie: wherever stock diffusers finds them, else a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import diffusers
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from efface.diffusion.loading import load, save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.weight_files import hash_model, hash_weights
from efface.errors import ModelError
from tests.tiny import make_tiny_unet

STEM = "diffusion_pytorch_model"
WEIGHTS = f"{STEM}.safetensors"
Network = diffusers.UNet2DModel


@pytest.fixture(scope="module")
def network() -> Network:
    """Of an unconditional model."""
    return make_tiny_unet(conditional=False).network  # pyright: ignore


@pytest.fixture(scope="module")
def stock(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As stock diffusers saves it."""
    folder = tmp_path_factory.mktemp("stock") / "model"
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(stock: Path, tmp_path: Path) -> Path:
    """A pipeline folder to move parts in."""
    return shutil.copytree(stock, tmp_path / "model")


def assert_is(network: Network, folder: Path) -> None:
    loaded = load(folder).network.state_dict()
    for name, tensor in network.state_dict().items():
        assert_close(loaded[name], tensor, rtol=0, atol=0)


def to_root(folder: Path, *parts: str) -> None:
    for part in parts:
        for file in (folder / part).iterdir():
            file.rename(folder / file.name)
        (folder / part).rmdir()


def all_at_root(folder: Path) -> None:
    to_root(folder, "unet", "scheduler")


def network_at_root(folder: Path) -> None:
    to_root(folder, "unet")


def scheduler_at_root(folder: Path) -> None:
    to_root(folder, "scheduler")


def no_index(folder: Path) -> None:
    all_at_root(folder)
    (folder / "model_index.json").unlink()


def old_index(folder: Path) -> None:
    """As the first models of diffusers have it."""
    all_at_root(folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_diffusers_version": "0.1.1"}))


def sharded(folder: Path) -> None:
    Network.from_pretrained(folder / "unet").save_pretrained(folder / "new", max_shard_size="10KB")
    shutil.rmtree(folder / "unet")
    (folder / "new").rename(folder / "unet")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1


def sharded_at_root(folder: Path) -> None:
    sharded(folder)
    all_at_root(folder)


def variant_beside(folder: Path) -> None:
    all_at_root(folder)
    shutil.copy(folder / WEIGHTS, folder / f"{STEM}.fp16.safetensors")


def variant_alone(folder: Path) -> None:
    (folder / "unet" / WEIGHTS).rename(folder / "unet" / f"{STEM}.fp16.safetensors")


def variant_alone_at_root(folder: Path) -> None:
    variant_alone(folder)
    all_at_root(folder)


def other_weights_at_root(folder: Path) -> None:
    save_file({"w": torch.zeros(1)}, folder / "original.safetensors")


def pickle_beside(folder: Path) -> None:
    all_at_root(folder)
    torch.save({}, folder / f"{STEM}.bin")


LAYOUTS = [all_at_root, network_at_root, scheduler_at_root, no_index, old_index, sharded]
LAYOUTS += [sharded_at_root, variant_beside, other_weights_at_root, pickle_beside]
LAYOUTS += [variant_alone, variant_alone_at_root]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_found_where_stock_diffusers_finds_them(
    layout: Callable[[Path], None], folder: Path, network: Network
) -> None:
    layout(folder)
    assert_is(network, folder)


def test_weights_at_the_root_are_hashed(folder: Path) -> None:
    before = hash_weights(folder)[f"unet/{WEIGHTS}"]
    all_at_root(folder)
    assert hash_weights(folder) == {WEIGHTS: before}
    whole = hash_model(folder)
    weights = load_file(folder / WEIGHTS)
    save_file({name: tensor + 1 for name, tensor in weights.items()}, folder / WEIGHTS)
    assert hash_model(folder) != whole


@pytest.mark.parametrize("layout", [all_at_root, no_index, scheduler_at_root])
def test_a_pipeline_is_delivered_in_the_class_that_it_came_in(
    layout: Callable[[Path], None], folder: Path, network: Network, tmp_path: Path
) -> None:
    layout(folder)
    info = inspect_model(folder)
    save_pipeline(load(info), tmp_path / "out", index=info.index)
    pipeline = cast(Any, diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out"))
    assert type(pipeline).__name__ == "DDPMPipeline"
    assert type(pipeline.scheduler) is diffusers.DDPMScheduler
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 1)
    assert_is(network, tmp_path / "out")


@pytest.mark.parametrize("name", ["DDIMPipeline", "PNDMPipeline", "MyPipeline", None])
def test_another_pipeline_is_delivered_as_one_that_draws(
    name: str | None, folder: Path, tmp_path: Path
) -> None:
    save_pipeline(load(folder), tmp_path / "out", index={"_class_name": name})
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert index["_class_name"] == "DDIMPipeline"


def test_a_network_without_a_size_is_delivered_with_the_one_that_was_given(
    folder: Path, tmp_path: Path
) -> None:
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"sample_size": None}))
    loaded = load(inspect_model(folder, size=12))
    assert loaded.sample_shape == (1, 12, 12)
    save_pipeline(loaded, tmp_path / "out")
    assert load(tmp_path / "out").sample_shape == (1, 12, 12)


def average(folder: Path) -> None:
    weights = load_file(folder / "unet" / WEIGHTS)
    shutil.copytree(folder / "unet", folder / "unet_ema")
    save_file({name: 2 * w for name, w in weights.items()}, folder / "unet_ema" / WEIGHTS)


def test_an_average_is_read_and_that_is_said(
    folder: Path, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    average(folder)
    config = json.loads((folder / "unet_ema" / "config.json").read_text())
    averaged = config | {"decay": 0.999, "_diffusers_version": "0.9.0"}
    (folder / "unet_ema" / "config.json").write_text(json.dumps(averaged))
    for _ in range(2):
        loaded = load(folder).network.state_dict()["conv_in.bias"]
    assert_close(loaded, 2 * network.state_dict()["conv_in.bias"])
    said = "unet_ema holds averaged weights: they are read as the model"
    assert capsys.readouterr().err.count(said) == 1
    shutil.rmtree(folder / "unet")
    assert_close(load(folder).network.state_dict()["conv_in.bias"], loaded)


def with_lora(folder: Path) -> Any:
    network = Network.from_pretrained(folder / "unet")
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    inject_adapter_in_model(config, network, "default")  # as `add_adapter` does
    return network


def lora_attached(folder: Path) -> None:
    with_lora(folder).save_pretrained(folder / "unet")


def lora_fused(folder: Path) -> None:
    network = with_lora(folder)
    for module in network.modules():
        if isinstance(module, LoraLayer):
            module.merge()  # as `fuse_lora` does
    network.save_pretrained(folder / "unet")


def lora_at_root(folder: Path) -> None:
    lora_attached(folder)
    all_at_root(folder)


def old_lora(folder: Path) -> None:
    """Attention processors of earlier releases."""
    weights = load_file(folder / "unet" / WEIGHTS)
    name = "mid_block.attentions.0.processor.to_q_lora.down.weight"
    save_file(weights | {name: torch.zeros(2, 2)}, folder / "unet" / WEIGHTS)


def as_pickle(folder: Path) -> None:
    torch.save({}, folder / "unet" / f"{STEM}.bin")
    (folder / "unet" / WEIGHTS).unlink()


def pickle_at_root(folder: Path) -> None:
    as_pickle(folder)
    all_at_root(folder)


def no_weights(folder: Path) -> None:
    all_at_root(folder)
    (folder / WEIGHTS).unlink()


def missing_shard(folder: Path) -> None:
    sharded_at_root(folder)
    min(folder.glob(f"{STEM}-*.safetensors")).unlink()


def other_average(folder: Path) -> None:
    average(folder)
    config = json.loads((folder / "unet_ema" / "config.json").read_text())
    other = config | {"num_class_embeds": 4}
    (folder / "unet_ema" / "config.json").write_text(json.dumps(other))


def empty_average(folder: Path) -> None:
    (folder / "unet_ema").mkdir()


def pickled_average(folder: Path) -> None:
    average(folder)
    (folder / "unet_ema" / WEIGHTS).rename(folder / "unet_ema" / f"{STEM}.bin")


def network_alone(folder: Path) -> None:
    no_index(folder)
    (folder / "scheduler_config.json").unlink()


def other_network_at_root(folder: Path) -> None:
    no_index(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_class_name": "VQModel"}))


FUSE = "was saved while a LoRA was attached .*fuse_lora.. and unload_lora_weights.., then save"
BROKEN = [
    (lora_attached, FUSE),
    (lora_fused, FUSE),
    (lora_at_root, FUSE),
    (old_lora, FUSE),
    (as_pickle, "unet holds .*bin, a pickle, .* Save the model with safe_serialization=True"),
    (pickle_at_root, "model holds .*bin, a pickle, .* Save the model with safe_serialization"),
    (no_weights, "model holds no weights: a .safetensors file is needed"),
    (missing_shard, "model lacks .*, which its .* names"),
    (
        other_average,
        "unet_ema and .*unet differ in num_class_embeds, so they are not the same network",
    ),
    (empty_average, "unet_ema/config.json is missing"),
    (pickled_average, "unet_ema holds .*bin, a pickle"),
    (network_alone, "scheduler_config.json is missing: .* give the folder of the whole pipeline"),
    (other_network_at_root, "model_index.json is missing: a diffusers pipeline folder has one"),
]


@pytest.mark.parametrize(("breakage", "sentence"), BROKEN)
def test_what_cannot_be_loaded_is_said_before_anything_is(
    breakage: Callable[[Path], None],
    sentence: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    breakage(folder)
    capsys.readouterr()
    with pytest.raises(ModelError, match=sentence) as caught:
        inspect_model(folder)
    assert "\n" not in str(caught.value)
    assert len(capsys.readouterr().err) < 500  # no list of names


def test_the_folder_of_a_network_is_no_model(folder: Path) -> None:
    with pytest.raises(ModelError, match="unet/scheduler_config.json is missing: .*whole pipeline"):
        inspect_model(folder / "unet")
