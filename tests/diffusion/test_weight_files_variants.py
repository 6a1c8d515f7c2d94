"""Folders whose weights are there only as a variant: read, said and handed on as plain files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import load, save_pipeline
from efface.diffusion.model_folder import fetch_weights, inspect_model
from efface.diffusion.weight_files import DIFFUSERS, TRANSFORMERS, hash_model, hash_weights
from efface.errors import ModelError
from efface.progress import remark
from tests.hubs import cached, hub, serving

Folders = Callable[[str], Path]
Layout = Callable[[Path, str, str], list[str]]


def halved(part: Path, stem: str) -> dict[str, torch.Tensor]:
    """The plain weights of a part in half precision, without their file."""
    weights = load_file(part / f"{stem}.safetensors")
    (part / f"{stem}.safetensors").unlink()
    return {k: w.half() if w.is_floating_point() else w for k, w in weights.items()}


def one_file(part: Path, stem: str, variant: str) -> list[str]:
    name = f"{stem}.{variant}.safetensors"
    save_file(halved(part, stem), part / name, metadata={"format": "pt"})
    return [name]


def in_shards(part: Path, stem: str, variant: str, names: str) -> list[str]:
    weights = halved(part, stem)
    files = [names.format(stem=stem, variant=variant, number=number) for number in (1, 2)]
    halves = {file: sorted(weights)[i::2] for i, file in enumerate(files)}
    for file, keys in halves.items():
        save_file({k: weights[k] for k in keys}, part / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {k: f for f, keys in halves.items() for k in keys}}
    (part / f"{stem}.safetensors.index.{variant}.json").write_text(json.dumps(index))
    return files


def shards(part: Path, stem: str, variant: str) -> list[str]:
    return in_shards(part, stem, variant, "{stem}.{variant}-0000{number}-of-00002.safetensors")


def older_shards(part: Path, stem: str, variant: str) -> list[str]:
    return in_shards(part, stem, variant, "{stem}-0000{number}-of-00002.{variant}.safetensors")


LAYOUTS = [one_file, shards, older_shards]
NETWORK = {"unet": DIFFUSERS}
LATENT = {"transformer": DIFFUSERS, "vae": DIFFUSERS}
TEXT = {"unet": DIFFUSERS, "vae": DIFFUSERS, "text_encoder": TRANSFORMERS}
MODELS = [("class", NETWORK), ("dit", LATENT), ("dit", {"vae": DIFFUSERS}), ("sd", TEXT)]
MODELS += [("sd", {part: stem}) for part, stem in TEXT.items()]


@pytest.fixture
def model(
    tiny_model: Path, tiny_dit: Callable[[], Denoiser], pipelines: Folders, tmp_path: Path
) -> Callable[[str], Path]:
    """A plain pipeline of a kind, to rename weights in."""

    def make(kind: str) -> Path:
        if kind == "dit":
            save_pipeline(tiny_dit(), tmp_path / "model")
            return tmp_path / "model"
        source = tiny_model if kind == "class" else pipelines(kind)
        return Path(shutil.copytree(source, tmp_path / "model"))

    return make


@pytest.fixture(autouse=True)
def _said_again() -> None:
    remark.cache_clear()


def weights_of(model: Denoiser, part: str) -> dict[str, torch.Tensor]:
    if part in ("unet", "transformer"):
        return model.network.state_dict()
    if part == "vae":
        return model.codec.vae.state_dict()  # pyright: ignore
    return model.prompts._pipeline.text_encoder.state_dict()  # pyright: ignore


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kind", "parts"), MODELS)
def test_a_variant_alone_is_read_in_float32_and_said(
    kind: str,
    parts: dict[str, str],
    layout: Layout,
    model: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = model(kind)
    plain = load(folder)
    for part, stem in parts.items():
        layout(folder / part, stem, "fp16")
    capsys.readouterr()
    info = inspect_model(folder)
    said = capsys.readouterr().err
    read = load(info)
    for part in parts:
        assert f"{folder / part} holds its weights only as the variant 'fp16'" in said
        own = weights_of(plain, part)
        for name, weight in weights_of(read, part).items():
            assert weight.dtype == own[name].dtype
            expected = own[name].half().float() if own[name].is_floating_point() else own[name]
            assert_close(weight, expected, rtol=0, atol=0)
    assert said.count("only as the variant") == len(parts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_read_is_hashed(layout: Layout, model: Callable[[str], Path]) -> None:
    folder = model("sd")
    before = hash_weights(folder)
    files = layout(folder / "unet", DIFFUSERS, "fp16")
    own = {f"unet/{name}" for name in files}
    others = {n: d for n, d in before.items() if not n.startswith("unet/")}
    hashes, whole = hash_weights(folder), hash_model(folder)
    assert hashes.keys() == others.keys() | own
    assert hashes | others == hashes
    weights = load_file(folder / "unet" / files[-1])
    save_file({k: w + 1 for k, w in weights.items()}, folder / "unet" / files[-1])
    assert hash_weights(folder) != hashes
    assert hash_model(folder) != whole


def test_beside_plain_weights_a_variant_is_not_read(
    model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model("class")
    file = folder / "unet" / f"{DIFFUSERS}.safetensors"
    before = hash_weights(folder)
    shutil.copy(file, file.with_name(f"{DIFFUSERS}.fp16.safetensors"))
    capsys.readouterr()
    assert not inspect_model(folder).variants
    assert "variant" not in capsys.readouterr().err
    assert hash_weights(folder) == before


def test_the_index_of_plain_shards_that_were_not_fetched_does_not_matter(
    model: Callable[[str], Path],
) -> None:
    """A download of all JSON files and of one variant's weights holds it."""
    folder = model("class")
    one_file(folder / "unet", DIFFUSERS, "fp16")
    index = {"weight_map": {"w": f"{DIFFUSERS}-00001-of-00001.safetensors"}}
    (folder / "unet" / f"{DIFFUSERS}.safetensors.index.json").write_text(json.dumps(index))
    load(folder)


def test_a_variant_at_the_root_is_read(model: Callable[[str], Path]) -> None:
    folder = model("class")
    one_file(folder / "unet", DIFFUSERS, "bf16")
    for file in (folder / "unet").iterdir():
        file.rename(folder / file.name)
    (folder / "unet").rmdir()
    load(folder)
    assert list(hash_weights(folder)) == [f"{DIFFUSERS}.bf16.safetensors"]


@pytest.mark.parametrize("stem", [DIFFUSERS, TRANSFORMERS])
def test_two_variants_without_plain_weights_are_refused(
    stem: str, model: Callable[[str], Path]
) -> None:
    folder = model("sd")
    part = folder / next(name for name, own in TEXT.items() if own == stem)
    one_file(part, stem, "fp16")
    shutil.copy(part / f"{stem}.fp16.safetensors", part / f"{stem}.non_ema.safetensors")
    with pytest.raises(ModelError, match="holds the variants 'fp16' and 'non_ema' of its weights"):
        inspect_model(folder)


@pytest.mark.parametrize("layout", [shards, older_shards])
def test_a_hole_in_a_variant_is_named(layout: Layout, model: Callable[[str], Path]) -> None:
    folder = model("class")
    first, last = layout(folder / "unet", DIFFUSERS, "fp16")
    (folder / "unet" / last).unlink()
    with pytest.raises(ModelError, match=f"lacks {last}, which its .*index.fp16.json names"):
        inspect_model(folder)
    (folder / "unet" / f"{DIFFUSERS}.safetensors.index.fp16.json").unlink()
    with pytest.raises(ModelError, match=f"holds {first} and no .*index.fp16.json"):
        inspect_model(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pipeline_is_handed_on_in_plain_float32_files(
    layout: Layout, model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = model("sd")
    for part, stem in TEXT.items():
        layout(folder / part, stem, "fp16")
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float16"}))
    read = load(folder)
    save_pipeline(read, tmp_path / "out")
    written = list((tmp_path / "out").rglob("*.safetensors"))
    assert written
    assert not [file for file in (tmp_path / "out").rglob("*") if "fp16" in file.name]
    for file in written:
        assert {w.dtype for w in load_file(file).values()} <= {torch.float32, torch.int64}
    stock = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "out")
    for part, own in (
        ("unet", stock.unet),
        ("vae", stock.vae),
        ("text_encoder", stock.text_encoder),
    ):
        for name, weight in own.state_dict().items():
            assert_close(weight, weights_of(read, part)[name], rtol=0, atol=0)
    assert not inspect_model(tmp_path / "out").variants


@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_a_hub_model_with_a_variant_alone_that_is_fetched(
    layout: Layout,
    model: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = model("sd")
    files = layout(folder / "text_encoder", TRANSFORMERS, "fp16")
    sent: list[str] = []
    with hub(serving(folder, sent), tmp_path / "cache", monkeypatch):
        info = inspect_model("acme/tiny")
        assert not [name for name in sent if name.endswith(".safetensors")]
        fetch_weights(info)
        load(info)
        assert load(inspect_model("acme/tiny"))
    assert {f"text_encoder/{name}" for name in files} <= set(sent)
    assert {place.name: variant for place, variant in info.variants.items()} == {
        "text_encoder": "fp16"
    }


def test_offline_a_variant_alone_is_read(
    model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model("sd")
    shards(folder / "unet", DIFFUSERS, "fp16")
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    cached(folder, tmp_path / "cache", monkeypatch, names)
    load("acme/tiny")
