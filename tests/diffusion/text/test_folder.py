"""What a text-to-image folder says about itself, and what is refused with a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import diffusers
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from efface.diffusion.loading import load
from efface.diffusion.model_folder import drawn_shape, inspect_model
from efface.errors import ModelError
from tests.text_pipelines import load_text

Folders = Callable[[str], Path]
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(pipelines: Folders, tmp_path: Path) -> Path:
    """A Stable Diffusion pipeline to break."""
    return shutil.copytree(pipelines("sd"), tmp_path / "model")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_family_is_known_by_its_pipeline(pipelines: Folders, kind: str) -> None:
    info = inspect_model(pipelines(kind))
    assert info.family is not None
    assert kind.startswith(info.family.name)
    assert info.encoders == info.family.encoders
    assert (info.component, info.network_class) == (info.family.component, info.family.network)
    assert (info.num_classes, info.vae) == (None, True)


def test_sd3_may_lack_its_third_encoder(pipelines: Folders) -> None:
    info = inspect_model(pipelines("sd3_without_t5"))
    assert info.encoders == ("text_encoder", "text_encoder_2")


def test_latents_are_scaled_and_shifted_as_the_family_does(text_model, kind: str) -> None:
    codec = text_model(kind).codec
    x0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    shift = 0.1 if kind in ("sd3", "flux") else 0.0
    assert_close(codec.decode(x0), codec.vae.decode(x0 / 0.5 + shift).sample)
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    mean = codec.vae.encode(pixels).latent_dist.sample(torch.Generator().manual_seed(1))
    encoded = codec.encode(pixels, torch.Generator().manual_seed(1))
    assert_close(encoded, (mean - shift) * 0.5)


def test_weights_under_the_names_of_older_releases_load_the_same(
    pipelines: Folders, folder: Path
) -> None:
    """Stable Diffusion 1.x on the hub still has them."""
    vae, encoder = folder / "vae" / WEIGHTS, folder / "text_encoder" / "model.safetensors"
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(vae)
    for new, old in older.items():
        weights = {n.replace(f".{new}.", f".{old}."): w for n, w in weights.items()}
    assert weights.keys() != load_file(vae).keys()
    save_file(weights, vae, metadata={"format": "pt"})
    prefixed = {f"text_model.{n}": w for n, w in load_file(encoder).items()}
    prefixed["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    save_file(prefixed, encoder, metadata={"format": "pt"})
    now, then = load_text(pipelines("sd")), load_text(folder)
    x0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert_close(then.codec.decode(x0), now.codec.decode(x0), rtol=0, atol=0)
    states = [d.encode(["a cat"]).tensors["encoder_hidden_states"] for d in (now, then)]
    assert_close(states[1], states[0], rtol=0, atol=0)


def two_half_precisions(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    shutil.copy(path, path.with_suffix(".fp16.safetensors"))
    path.rename(path.with_suffix(".bf16.safetensors"))


def pickled_encoder(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    path.rename(path.with_name("pytorch_model.bin"))


def truncated_encoder(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def no_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def empty_tokenizer(folder: Path) -> None:
    for path in (folder / "tokenizer").iterdir():
        path.unlink()


def unknown_encoder(folder: Path) -> None:
    edit(folder / "model_index.json", text_encoder=["transformers", "LlamaModel"])


def foreign_code(folder: Path) -> None:
    edit(folder / "model_index.json", text_encoder=["encoder", "MyEncoder"])


def no_encoder(folder: Path) -> None:
    edit(folder / "model_index.json", text_encoder=[None, None])


def flow_scheduler(folder: Path) -> None:
    edit(folder / "model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])


def picture_taking(folder: Path) -> None:
    edit(folder / "model_index.json", _class_name="StableDiffusionInpaintPipeline")


def consistency_model(folder: Path) -> None:
    edit(folder / "unet" / "config.json", time_cond_proj_dim=16)


def channel_means(folder: Path) -> None:
    edit(folder / "vae" / "config.json", latents_mean=[0.0] * 4, latents_std=[1.0] * 4)


def endless_tokenizer(folder: Path) -> None:
    edit(folder / "tokenizer" / "tokenizer_config.json", model_max_length=10**30)


def unlimited_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["model_max_length"]
    path.write_text(json.dumps(config))


def odd_channels(folder: Path) -> None:
    torch.manual_seed(0)
    config = diffusers.UNet2DConditionModel.load_config(folder / "unet")
    network = diffusers.UNet2DConditionModel.from_config({**config, "in_channels": 9})
    network.save_pretrained(folder / "unet")


def lora_attached(folder: Path) -> None:
    network = cast(Any, diffusers.UNet2DConditionModel.from_pretrained(folder / "unet"))
    network.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]))
    network.save_pretrained(folder / "unet")


def encoder_with_lora(folder: Path) -> None:
    weights = load_file(folder / "text_encoder" / "model.safetensors")
    save_file(
        {f"{name}.base_layer.weight": w for name, w in weights.items()},
        folder / "text_encoder" / "model.safetensors",
    )


def network_config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "unet" / "config.json", **changes)


TOLD = "as .*, for a network that is told something else than StableDiffusionPipeline tells it"
CLASSES = "unet takes classes beside prompts"
OTHER_NETWORKS = [
    *[
        (network_config(addition_embed_type=kind), f"addition_embed_type {TOLD}")
        for kind in ("text_time", "text_image", "image", "image_hint", 3, ["text"])
    ],
    *[
        (network_config(encoder_hid_dim_type=kind), f"encoder_hid_dim_type {TOLD}")
        for kind in ("image_proj", "text_image_proj", "ip_image_proj", 1)
    ],
    *[
        (network_config(class_embed_type=kind), CLASSES)
        for kind in ("timestep", "identity", "projection", "simple_projection")
    ],
    (network_config(num_class_embeds=10), CLASSES),
    (network_config(time_embedding_type="fourier"), "time_embedding_type as 'fourier'"),
    (network_config(time_cond_proj_dim=256), "unet takes guidance as an input"),
    (network_config(cross_attention_dim=32), "as 32, and the text encoders beside it make 16"),
    (network_config(encoder_hid_dim=24), "encoder_hid_dim as 24, and the text encoders beside it"),
    (network_config(out_channels=3), "takes 4 channels and returns 3"),
    (network_config(sample_size=None), "does not say the size of the images .* with --size"),
    (network_config(sample_size="8"), "sample_size as '8': a whole number"),
    (lora_attached, "unet/.* was saved while a LoRA was attached .*fuse_lora"),
    (encoder_with_lora, "text_encoder/.* was saved while a LoRA was attached .*fuse_lora"),
]


@pytest.mark.parametrize(("breakage", "sentence"), OTHER_NETWORKS)
def test_a_network_that_is_told_more_than_a_prompt_is_refused_by_its_configuration(
    folder: Path, breakage: Callable[[Path], None], sentence: str
) -> None:
    breakage(folder)
    with pytest.raises(ModelError, match=sentence) as caught:
        inspect_model(folder)
    assert "\n" not in str(caught.value)


def test_an_sdxl_network_that_is_not_told_its_size_is_refused(
    pipelines: Folders, tmp_path: Path
) -> None:
    folder = shutil.copytree(pipelines("sdxl"), tmp_path / "model")
    edit(folder / "unet" / "config.json", addition_embed_type=None)
    with pytest.raises(ModelError, match="told something else than StableDiffusionXLPipeline"):
        inspect_model(folder)


def test_latents_without_a_size_have_the_one_that_was_given(folder: Path) -> None:
    edit(folder / "unet" / "config.json", sample_size=None)
    info = inspect_model(folder, size=24)
    assert drawn_shape(info) == (3, 24, 24)
    assert load(info).sample_shape == (4, 12, 12)
    edit(folder / "unet" / "config.json", sample_size=[8, 12])
    assert drawn_shape(inspect_model(folder)) == (3, 16, 24)


@pytest.mark.parametrize(
    ("breakage", "sentence"),
    [
        (two_half_precisions, "text_encoder holds the variants 'bf16' and 'fp16' of its weights"),
        (pickled_encoder, "text_encoder holds pytorch_model.bin, a pickle"),
        (truncated_encoder, "text_encoder/model.safetensors is truncated"),
        (no_tokenizer, "names a tokenizer that is not there"),
        (empty_tokenizer, "tokenizer holds no vocabulary"),
        (unknown_encoder, "gives its text_encoder as LlamaModel: allowed are CLIPTextModel"),
        (foreign_code, "gives its text_encoder as MyEncoder: allowed are CLIPTextModel"),
        (no_encoder, "gives its text_encoder as None: allowed are CLIPTextModel"),
        (flow_scheduler, "FlowMatchEulerDiscreteScheduler is not known .*DDIMScheduler"),
        (picture_taking, "holds a UNet2DConditionModel: .*pipelines StableDiffusionPipeline,"),
        (consistency_model, "unet takes guidance as an input"),
        (channel_means, "latents_mean"),
        (unlimited_tokenizer, "tokenizer allows 10+ tokens, and its text encoder reads 16"),
        (endless_tokenizer, "tokenizer allows 10+ tokens, and its text encoder reads 16"),
        (odd_channels, "takes 9 channels where its VAE has 4: give a text-to-image model"),
    ],
)
def test_a_broken_pipeline_is_refused_with_one_sentence(
    folder: Path, breakage: Callable[[Path], None], sentence: str
) -> None:
    breakage(folder)
    with pytest.raises(ModelError, match=sentence) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "breakage",
    [
        two_half_precisions,
        pickled_encoder,
        truncated_encoder,
        unlimited_tokenizer,
        endless_tokenizer,
        channel_means,
        odd_channels,
    ],
)
def test_what_the_files_say_is_refused_before_anything_is_loaded(
    folder: Path, breakage: Callable[[Path], None]
) -> None:
    breakage(folder)
    with pytest.raises(ModelError):
        inspect_model(folder)


def test_diffusion_schedules_are_refused_for_flow_families(
    pipelines: Folders, tmp_path: Path
) -> None:
    shutil.copytree(pipelines("sd3"), tmp_path / "model")
    edit(tmp_path / "model" / "model_index.json", scheduler=["diffusers", "DDIMScheduler"])
    with pytest.raises(ModelError, match="DDIMScheduler is not known .*FlowMatchEuler"):
        inspect_model(tmp_path / "model")


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "adapter_config.json"])
def test_a_lora_is_no_base_model(tmp_path: Path, name: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "pytorch_lora_weights.safetensors")
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match="holds a LoRA .*give the base model"):
        inspect_model(tmp_path)


def test_a_lora_under_any_name_is_answered_with_the_base_model(tmp_path: Path) -> None:
    file = tmp_path / "my_style.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    for given in (tmp_path, file):
        with pytest.raises(ModelError, match=r"LoRA.*base\s+model"):
            inspect_model(given)


def test_an_absent_hub_model_is_named_offline() -> None:
    with pytest.raises(ModelError, match="no-one/no-flux is no local folder and could not be had"):
        load("no-one/no-flux")
