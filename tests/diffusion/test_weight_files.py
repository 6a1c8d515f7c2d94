"""Which files of weights are whole, from their headers alone."""

from __future__ import annotations

import hashlib
import json
import struct
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from efface.diffusion.weight_files import (
    DIFFUSERS,
    OTHER_VARIANTS,
    TRANSFORMERS,
    check_weights,
    find_variant,
    hash_model,
    hash_weights,
    names_in,
    weights_wanted,
)
from efface.errors import ModelError


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[1, 2]",
        b'{"a": 3}',
        b'{"a": {"data_offsets": []}}',
        b'{"a": {}}',
        b"\xff\xfe{}",
    ],
)
def test_garbled_headers_are_named(tmp_path, header):
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelError, match=f"{file} is truncated or no safetensors file"):
        check_weights(tmp_path, "model")


def write_shards(folder, stem, shards):
    """An index of the shards, and the shards themselves."""
    for name in shards:
        save_file({"w": torch.zeros(10)}, folder / name)
    index = {"weight_map": {f"w{i}": name for i, name in enumerate(shards)}}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("stem", [DIFFUSERS, TRANSFORMERS])
def test_every_shard_is_checked(tmp_path, stem):
    shards = [f"{stem}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    write_shards(tmp_path, stem, shards)
    check_weights(tmp_path, stem)
    with (tmp_path / shards[1]).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ModelError, match=f"{shards[1]} is truncated"):
        check_weights(tmp_path, stem)
    (tmp_path / shards[1]).unlink()
    with pytest.raises(ModelError, match=f"lacks {shards[1]}, which its {stem}.safetensors.index"):
        check_weights(tmp_path, stem)
    (tmp_path / f"{stem}.safetensors.index.json").unlink()
    with pytest.raises(ModelError, match=f"holds {shards[0]} and no {stem}.safetensors.index.json"):
        check_weights(tmp_path, stem)


def test_of_one_file_and_an_index_each_library_takes_its_own(tmp_path):
    for stem in (DIFFUSERS, TRANSFORMERS):
        save_file({"w": torch.zeros(10)}, tmp_path / f"{stem}.safetensors")
        write_shards(tmp_path, stem, [f"{stem}-00001-of-00001.safetensors"])
    assert weights_wanted(tmp_path, DIFFUSERS) == [f"{DIFFUSERS}-00001-of-00001.safetensors"]
    assert weights_wanted(tmp_path, TRANSFORMERS) == ["model.safetensors"]


@pytest.mark.parametrize(
    "content", [{}, {"weight_map": {}}, {"weight_map": ["a"]}, {"weight_map": {"w": "../x.bin"}}]
)
def test_an_index_that_names_no_files_beside_it_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="does not say which .safetensors files beside it"):
        check_weights(tmp_path, "model")


# Names that diffusers and transformers write, now or in older releases.
@pytest.mark.parametrize("variant", ["fp16", "bf16", "non_ema", "ema"])
@pytest.mark.parametrize(
    "name",
    [
        "model.{}.safetensors",
        "model.{}-00001-of-00002.safetensors",
        "model-00001-of-00002.{}.safetensors",
    ],
)
def test_a_variant_is_found_whatever_it_is_and_wherever_its_number_stands(tmp_path, variant, name):
    file = name.format(variant)
    save_file({"w": torch.zeros(10)}, tmp_path / file)
    index = f"model.safetensors.index.{variant}.json"
    (tmp_path / index).write_text(json.dumps({"weight_map": {"w": file}}))
    assert find_variant("here", TRANSFORMERS, names_in(tmp_path)) == variant
    check_weights(tmp_path, TRANSFORMERS, variant)
    save_file({"w": torch.zeros(10)}, tmp_path / "model.safetensors")
    assert find_variant("here", TRANSFORMERS, names_in(tmp_path)) is None
    check_weights(tmp_path, TRANSFORMERS)
    for other in (file, index):
        assert any(fnmatch(other, pattern) for pattern in OTHER_VARIANTS)


@pytest.mark.parametrize(
    "name",
    [".safetensors", "-00001-of-00002.safetensors", ".safetensors.index.json"],
)
def test_plain_weights_are_no_variant(name):
    for stem in (DIFFUSERS, TRANSFORMERS):
        assert not [p for p in OTHER_VARIANTS if fnmatch(f"{stem}{name}", p)]


def test_weights_under_a_name_that_nothing_loads_are_none(tmp_path):
    save_file({"w": torch.zeros(10)}, tmp_path / "pytorch_lora_weights.safetensors")
    with pytest.raises(ModelError, match="holds no weights: a .safetensors file is needed, model"):
        check_weights(tmp_path, "model")


def test_weights_are_hashed_by_relative_path(tiny_model: Path):
    hashes = hash_weights(tiny_model)
    name = "unet/diffusion_pytorch_model.safetensors"
    assert hashes[name] == hashlib.sha256((tiny_model / name).read_bytes()).hexdigest()


def test_a_judge_beside_a_model_is_no_part_of_its_weights(tmp_path):
    for name in ("unet", "judge"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    assert list(hash_weights(tmp_path)) == ["unet/model.safetensors"]


@pytest.mark.parametrize("variant", ["model.fp16", "model.fp16-00001-of-00002", "model.non_ema"])
def test_a_model_is_the_same_whether_variants_of_it_were_fetched_or_not(tmp_path, variant):
    (tmp_path / "unet").mkdir()
    plain = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for name in (*plain, f"{variant}.safetensors"):
        (tmp_path / "unet" / name).write_bytes(b"weights")
    assert list(hash_weights(tmp_path)) == [f"unet/{name}" for name in plain]


def test_all_that_a_model_draws_with_is_in_its_digest_and_nothing_else(tmp_path: Path) -> None:
    files = ("model_index.json", "pipeline.py", "unet/w.safetensors", "unet/config.json")
    files += ("tokenizer/vocab.txt", "tokenizer/merges.txt", "tokenizer/spiece.model")
    beside = ("README.md", "judge/model.safetensors", ".cache/x.json")
    for name in (*files, *beside):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    before = hash_model(tmp_path)
    for name in (*files, *beside):
        (tmp_path / name).write_text("other")
        assert (hash_model(tmp_path) != before) == (name in files), name
        (tmp_path / name).write_text(name)
    assert hash_model(tmp_path) == before
