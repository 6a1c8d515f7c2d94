"""Parts that a pipeline hands on as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from efface.diffusion.text.copying import copy_part
from efface.errors import ModelError

Folders = Callable[[str], Path]
WEIGHTS = "model.safetensors"


def test_plain_weights_are_copied_as_they_are(pipelines: Folders, tmp_path: Path) -> None:
    source = pipelines("sd") / "text_encoder"
    copy_part(source, tmp_path / "copy")
    assert {f.name: f.read_bytes() for f in (tmp_path / "copy").iterdir()} == {
        f.name: f.read_bytes() for f in source.iterdir()
    }


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_a_variant_alone_becomes_plain_and_its_description_says_float32(
    key: str, pipelines: Folders, tmp_path: Path
) -> None:
    source, part = pipelines("sd") / "text_encoder", tmp_path / "part"
    part.mkdir()
    weights = {name: w.half() for name, w in load_file(source / WEIGHTS).items()}
    save_file(weights, part / "model.fp16.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    own = {k: v for k, v in config.items() if k not in ("dtype", "torch_dtype")}
    (part / "config.json").write_text(json.dumps(own | {key: "float16"}))
    copy_part(part, tmp_path / "copy")
    assert {f.name for f in (tmp_path / "copy").iterdir()} == {WEIGHTS, "config.json"}
    read = transformers.CLIPTextModel.from_pretrained(tmp_path / "copy")
    assert read.dtype == torch.float32


def test_a_part_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gone, so that the pipeline cannot be written whole"):
        copy_part(tmp_path / "vae", tmp_path / "copy")
