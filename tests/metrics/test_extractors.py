"""Extractors: what is saved is what is loaded, each has its checksum, what is none is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor

from efface.errors import DataError
from efface.metrics.extractors import (
    SPATIAL_CHANNELS,
    extract,
    load_extractor,
)

TINY: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
SEEN: dict[str, Any] = TINY | {"image_size": 16, "patch_size": 8}
CLIP = transformers.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=16)
VIT = transformers.ViTImageProcessorPil(size={"height": 16, "width": 16})


def clip_config() -> transformers.CLIPConfig:
    text: dict[str, Any] = TINY | {
        "vocab_size": 64,
        "bos_token_id": 62,
        "eos_token_id": 63,
        "pad_token_id": 63,
    }
    return transformers.CLIPConfig(text_config=text, vision_config=SEEN, projection_dim=8)


MODELS: dict[str, tuple[Callable[[], Any], Any]] = {
    "clip": (lambda: transformers.CLIPModel(clip_config()), CLIP),
    "clip vision": (
        lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SEEN)),
        CLIP,
    ),
    "dinov2": (
        lambda: transformers.Dinov2Model(
            transformers.Dinov2Config(**{k: v for k, v in SEEN.items() if k != "intermediate_size"})
        ),
        VIT,
    ),
    "vit": (lambda: transformers.ViTModel(transformers.ViTConfig(**SEEN)), VIT),
    "vit classifier": (
        lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**SEEN)),
        VIT,
    ),
    "resnet": (
        lambda: transformers.ResNetModel(
            transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
            )
        ),
        VIT,
    ),
}


def make(kind: str, folder: Path, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    build, processor = MODELS[kind]
    model = build().eval()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model


def images(count: int, channels: int = 3, size: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, channels, size, size, generator=generator)


def prepared(processor: Any, batch: Tensor) -> Tensor:
    """As from files: 8-bit colour pictures opened by PIL."""
    levels = batch.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    return processor(images=[Image.fromarray(p) for p in levels], return_tensors="pt").pixel_values


@pytest.mark.parametrize("kind", list(MODELS))
def test_features_are_those_of_the_model_given_files_of_the_images(kind, tmp_path):
    model, batch = make(kind, tmp_path), images(5)
    extractor = load_extractor(tmp_path)
    pixels = prepared(MODELS[kind][1], batch)
    with torch.inference_mode():
        features, spatial = extractor.look(batch)
        if kind == "clip":
            expected = model.get_image_features(pixel_values=pixels).pooler_output
            last = model.vision_model(pixel_values=pixels).last_hidden_state
        elif kind == "vit classifier":  # it has no weights for a pooler: the first token
            last = model.vit(pixel_values=pixels).last_hidden_state
            expected = last[:, 0]
        else:
            seen = model(pixel_values=pixels)
            expected, last = seen.pooler_output.flatten(1), seen.last_hidden_state
    torch.testing.assert_close(features, expected)
    assert features.shape == (5, 8 if kind == "clip" else 16)
    channels = last[:, :SPATIAL_CHANNELS] if kind == "resnet" else last[:, :, :SPATIAL_CHANNELS]
    for own, other in zip(spatial, channels, strict=True):
        assert sorted(own.tolist()) == pytest.approx(sorted(other.flatten().tolist()), abs=1e-5)


def test_one_pass_gives_what_two_give(tmp_path):
    make("vit", tmp_path)
    extractor, batch = load_extractor(tmp_path), images(3)
    features, spatial = extractor.look(batch)
    torch.testing.assert_close(extractor.features(batch), features)
    torch.testing.assert_close(extractor.look(batch)[1], spatial)


def test_a_pooler_without_weights_is_never_random(tmp_path):
    make("vit classifier", tmp_path)
    seen = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        seen.append(load_extractor(tmp_path).features(images(2)))
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)


def test_loading_prints_nothing(tmp_path, capfd):
    make("vit classifier", tmp_path)
    capfd.readouterr()
    load_extractor(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_batches_do_not_change_what_is_seen(tmp_path):
    make("clip", tmp_path)
    extractor, whole = load_extractor(tmp_path), images(7)
    together, apart = extract(extractor, [whole]), extract(extractor, whole.split(3))
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    with pytest.raises(DataError, match="no images to extract features from"):
        extract(extractor, [])


def test_batches_are_looked_at_one_at_a_time(tmp_path):
    """A batch is drawn only when the one before was looked at."""
    make("vit", tmp_path)
    extractor, log = load_extractor(tmp_path), []
    handle = extractor.network.register_forward_hook(lambda *_: log.append("seen"))

    def batches():
        for batch in images(4).split(2):
            log.append("drawn")
            yield batch

    extract(extractor, batches())
    handle.remove()
    assert log == ["drawn", "seen"] * 2


def test_grey_images_are_seen_as_colour_ones_without_colour(tmp_path):
    make("dinov2", tmp_path)
    extractor, grey = load_extractor(tmp_path), images(2, channels=1)
    torch.testing.assert_close(
        extractor.features(grey), extractor.features(grey.repeat(1, 3, 1, 1))
    )
    with pytest.raises(DataError, match="images have 2 channels"):
        extractor.features(images(2, channels=2))


@pytest.mark.parametrize("wrong", [255.0, -1.0, float("nan")])
def test_images_out_of_range_are_refused(wrong, tmp_path):
    make("vit", tmp_path)
    with pytest.raises(DataError, match=r"outside of \[0, 1\]"):
        load_extractor(tmp_path).features(torch.full((1, 3, 8, 8), wrong))


def test_the_digest_is_that_of_weights_and_of_what_prepares_images(tmp_path):
    make("vit", tmp_path / "a")
    make("vit", tmp_path / "same")
    make("vit", tmp_path / "other", seed=1)
    make("vit", tmp_path / "prepared")
    path = tmp_path / "prepared" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"resample": 0}))
    first, same, other, differently = (
        load_extractor(tmp_path / name).described() for name in ("a", "same", "other", "prepared")
    )
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    text = "".join(
        f"{name} {hashlib.sha256((tmp_path / 'a' / name).read_bytes()).hexdigest()}\n"
        for name in names
    )
    assert first == {"name": "a", "sha256": hashlib.sha256(text.encode()).hexdigest()}
    assert same["sha256"] == first["sha256"]
    assert len({first["sha256"], other["sha256"], differently["sha256"]}) == 3


def test_another_checksum_than_the_pinned_one_is_refused(tmp_path):
    make("vit", tmp_path)
    found = load_extractor(tmp_path).sha256
    assert load_extractor(tmp_path, found.upper()).sha256 == found
    with pytest.raises(DataError, match=f"has the checksum {found}, not {'0' * 64}"):
        load_extractor(tmp_path, "0" * 64)


def edit(name: str, **changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def pickle_instead(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def another_language(folder: Path) -> None:
    transformers.BertModel(transformers.BertConfig(**TINY, vocab_size=8)).save_pretrained(folder)


def incomplete(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("layernorm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        pytest.param(truncate, "is no readable", id="truncated"),
        pytest.param(pickle_instead, "pickles are not read", id="pickle"),
        pytest.param(another_language, "is no readable .* vision model", id="of text"),
        pytest.param(incomplete, "is no readable .* vision model", id="weights lack"),
        pytest.param(
            edit("config.json", hidden_size=32), "is no readable .* vision model", id="other widths"
        ),
        pytest.param(
            edit("config.json", model_type="odd"), "is no readable .* vision model", id="unknown"
        ),
        pytest.param(
            lambda f: (f / "config.json").write_text("{"),
            "is no readable .* vision model",
            id="garbled config",
        ),
        pytest.param(
            lambda f: (f / "preprocessor_config.json").unlink(),
            "is no readable .* vision model",
            id="no preprocessing",
        ),
        pytest.param(
            lambda f: (f / "adapter_config.json").write_text("{}"), "holds an adapter", id="adapter"
        ),
        pytest.param(
            edit("preprocessor_config.json", size="odd"),
            "is no readable .* vision model",
            id="garbled size",
        ),
    ],
)
def test_what_is_no_extractor_is_named_in_one_sentence(breakage, message, tmp_path):
    folder = tmp_path / "model"
    make("vit", folder)
    breakage(folder)
    with pytest.raises(DataError, match=message) as caught:
        load_extractor(folder)
    assert str(folder) in str(caught.value)


def test_code_beside_a_model_is_never_run(tmp_path):
    folder, trace = tmp_path / "model", tmp_path / "trace"
    make("vit", folder)
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w').write('run')\n")
    for name, key in (
        ("config.json", "AutoModel"),
        ("preprocessor_config.json", "AutoImageProcessor"),
    ):
        edit(name, auto_map={key: "evil.Evil"}, model_type="evil", image_processor_type="Evil")(
            folder
        )
    with pytest.raises(DataError, match="is no readable .* vision model"):
        load_extractor(folder)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("owner/name", "could not be had from the hub"),
        ("nowhere", "no vision model at nowhere"),
        ("../up", "no vision model at ../up"),
        ("missing.safetensors", "is no readable .* file of Inception-v3"),
    ],
)
def test_what_is_not_there_is_named(source, message):
    with pytest.raises(DataError, match=message):
        load_extractor(source)
