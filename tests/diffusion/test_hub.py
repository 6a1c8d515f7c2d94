"""Hubs that fail, and hubs that hold a model: what is asked of them, and what is said of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from efface.diffusion.hub import reason
from efface.diffusion.loading import load, save_pipeline
from efface.diffusion.model_folder import fetch_weights, inspect_model
from efface.errors import ModelError
from tests.hubs import (
    COMMIT,
    Answer,
    breaks,
    cached,
    does_not_know,
    hangs_up,
    hub,
    is_gated,
    refusing_proxy,
    says_little,
    serving,
    shows_a_page,
)
from tests.tiny import make_tiny_unet

WEIGHTS = "diffusion_pytorch_model.safetensors"
Folders = Callable[[str], Path]


@pytest.fixture
def model(pipelines: Folders, tmp_path: Path) -> Path:
    """A Stable Diffusion pipeline, to be put on a hub."""
    return shutil.copytree(pipelines("sd"), tmp_path / "model")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (hangs_up, r"which could not be reached \(RemoteProtocolError\): check the name and"),
        (shows_a_page, r"which answered with something else \(JSONDecodeError\): check"),
        (says_little, r"which answered with something else \(KeyError\)"),
        (breaks, r"which answered with an error \(status 500\)"),
        (is_gated, r"where it is gated \(GatedRepoError\): accept its terms on its page"),
        (does_not_know, r"which does not have it, or not for everybody \(RepositoryNotFound"),
    ],
)
def test_a_hub_that_fails_is_answered_with_one_sentence(
    answer: Answer, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = "acme/tiny is no local folder and could not be had from the hub, "
    with hub(answer, tmp_path, monkeypatch), pytest.raises(ModelError, match=begin + why) as caught:
        inspect_model("acme/tiny")
    assert "\n" not in str(caught.value)


def test_a_proxy_that_refuses_is_answered_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing_proxy(tmp_path, monkeypatch), pytest.raises(ModelError, match="ProxyError"):
        inspect_model("acme/tiny")


def test_a_disk_that_refuses_is_not_the_hubs_fault() -> None:
    assert reason(PermissionError(13, "Permission denied")) == (
        "whose files could not be kept here (Permission denied)"
    )


def test_of_a_hub_model_its_parts_are_fetched_and_nothing_else(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = ("vae_1_0/config.json", "tokenizer/merges_old.txt", "unet/training.json", "x.ckpt")
    variant = model / "unet" / "diffusion_pytorch_model.bf16.safetensors"
    shutil.copyfile(model / "unet" / WEIGHTS, variant)
    for name in unused:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("{}")
    sent: list[str] = []
    with hub(serving(model, sent), tmp_path / "cache", monkeypatch):
        info = inspect_model("acme/tiny")
        assert not [name for name in sent if name.endswith(".safetensors")]
        fetch_weights(info)
        load(info)
    there = {p.relative_to(model).as_posix() for p in model.rglob("*") if p.is_file()}
    assert len(sent) == len(set(sent))
    assert there - set(sent) == {*unused, f"unet/{variant.name}"}
    assert info.folder.name == COMMIT


def test_sharded_weights_of_a_hub_model_are_fetched_by_their_index(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = shard(model / "unet")
    sent: list[str] = []
    with hub(serving(model, sent), tmp_path / "cache", monkeypatch):
        load("acme/tiny")
    assert {f"unet/{name}" for name in shards} <= set(sent)


@pytest.mark.parametrize("described", [True, False])
def test_weights_at_the_root_of_a_hub_model_are_fetched(
    described: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    save_pipeline(make_tiny_unet(conditional=False), model)
    for part in ("unet", "scheduler"):
        for file in (model / part).iterdir():
            file.rename(model / file.name)
        (model / part).rmdir()
    (model / "diffusion_pytorch_model.bin").touch()
    if not described:
        (model / "model_index.json").unlink()
    sent: list[str] = []
    with hub(serving(model, sent), tmp_path / "cache", monkeypatch):
        info = inspect_model("acme/tiny")
        assert WEIGHTS not in sent
        assert load(info).sample_shape == (1, 8, 8)
    there = {file.name for file in model.iterdir()} - {"diffusion_pytorch_model.bin"}
    assert sorted(sent) == sorted(there)


def shard(folder: Path) -> list[str]:
    """Split a network's weights in two, as diffusers does; returns the names."""
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    halves = {name: sorted(weights)[i::2] for i, name in enumerate(names)}
    for name, keys in halves.items():
        save_file({k: weights[k] for k in keys}, folder / name, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {k: n for n, keys in halves.items() for k in keys}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    return names


def rename(model: Path, name: str, to: str) -> None:
    (model / name).rename((model / name).with_name(to))


def two_variants(model: Path) -> None:
    for name in ("bf16", "fp16"):
        other = model / "unet" / f"diffusion_pytorch_model.{name}.safetensors"
        shutil.copyfile(model / "unet" / WEIGHTS, other)
    (model / "unet" / WEIGHTS).unlink()


def lose_a_shard(model: Path) -> None:
    (model / "unet" / shard(model / "unet")[1]).unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            two_variants,
            "unet of acme/tiny holds the variants 'bf16' and 'fp16' of its weights, and no plain",
        ),
        (
            lambda m: rename(m, "text_encoder/model.safetensors", "pytorch_model.bin"),
            "text_encoder of acme/tiny holds pytorch_model.bin, a pickle",
        ),
        (lose_a_shard, "unet of acme/tiny lacks .*-00002-of-00002.safetensors, which its .*index"),
        (lambda m: (m / "vae" / WEIGHTS).unlink(), "vae of acme/tiny holds no weights"),
    ],
)
def test_what_a_hub_lacks_is_named_before_any_weights_are_fetched(
    damage: Callable[[Path], None],
    sentence: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(model)
    sent: list[str] = []
    with (
        hub(serving(model, sent), tmp_path / "cache", monkeypatch),
        pytest.raises(ModelError, match=sentence),
    ):
        inspect_model("acme/tiny")
    assert not [name for name in sent if name.endswith((".safetensors", ".bin"))]


@pytest.mark.parametrize(
    "unneeded",
    [
        "vae_1_0/config.json",
        "tokenizer/merges_old.txt",
        "unet/diffusion_pytorch_model.bf16.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.bf16.json",
    ],
)
def test_offline_a_model_lacks_nothing_that_it_does_not_need(
    unneeded: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [p.relative_to(model).as_posix() for p in model.rglob("*") if p.is_file()]
    cached(model, tmp_path / "cache", monkeypatch, [*names, unneeded])
    fetch_weights(inspect_model("acme/tiny"))


def test_offline_a_hole_in_what_is_needed_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [p.relative_to(model).as_posix() for p in model.rglob("*") if p.is_file()]
    snapshot = cached(model, tmp_path / "cache", monkeypatch, names)
    (snapshot / "vae" / WEIGHTS).unlink()
    with pytest.raises(
        ModelError, match=f"vae/{WEIGHTS} of acme/tiny is not on this machine.*HF_HUB_OFFLINE"
    ):
        fetch_weights(inspect_model("acme/tiny"))
    (snapshot / "vae" / "config.json").unlink()
    with pytest.raises(ModelError, match="the description of acme/tiny is not whole on this"):
        inspect_model("acme/tiny")


def test_offline_weights_that_were_never_downloaded_are_not_said_to_be_missing_on_the_hub(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As caches of older releases have it, which keep no list of the files."""
    snapshot = cached(model, tmp_path / "cache", monkeypatch, [])
    (snapshot / "unet" / WEIGHTS).unlink()
    sentence = f"unet/{WEIGHTS} of acme/tiny is not on this machine, and the hub cannot be reached"
    with pytest.raises(ModelError, match=f"{sentence}: it may not have been downloaded"):
        fetch_weights(inspect_model("acme/tiny"))
