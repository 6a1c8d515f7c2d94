"""What a pack holds of a preparation is enough to measure by, and no sample."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

from efface.errors import DataError
from efface.requests.memorised.stages import pack_preparation, read_prepared


def test_a_packed_preparation_is_read_as_that_of_the_run(run: Path, tmp_path: Path) -> None:
    for name, content in pack_preparation(run).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (detected, modified), (own, own_modified) = read_prepared(tmp_path), read_prepared(run)
    assert detected.reference.equal(own.reference)
    assert detected.detection == own.detection
    for name, tensor in own_modified.condition.tensors.items():
        assert torch.equal(modified.condition.tensors[name], tensor)
    assert modified.tried == own_modified.tried and modified.count == own_modified.count


def test_neither_samples_nor_prompts_that_were_tried_are_packed(run: Path) -> None:
    packed = pack_preparation(run)
    assert not any(name.endswith(".png") for name in packed)
    tensors = load(packed["preparation/detection.safetensors"])
    own = load_file(run / "preparation" / "detection.safetensors")
    assert any(len(tensor) for name, tensor in own.items() if name != "reference")
    assert [name for name, tensor in tensors.items() if len(tensor)] == ["reference"]
    assert not any(json.loads(packed["preparation/modification.json"])["tried"])


def test_a_preparation_that_is_not_whole_is_not_packed(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "preparation", tmp_path / "preparation")
    (tmp_path / "preparation" / "detection.json").unlink()
    with pytest.raises(DataError, match="restore it, or run again"):
        pack_preparation(tmp_path)
