"""Which files of weights are whole, from their headers alone."""

from __future__ import annotations

import struct

import pytest
import torch
from safetensors.torch import save_file

from efface.diffusion.weight_files import check_weights
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
    file = tmp_path / "weights.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelError, match=f"{file} is no safetensors file"):
        check_weights(tmp_path)


def test_every_shard_is_checked(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"w": torch.zeros(10)}, tmp_path / name)
    check_weights(tmp_path)
    with (tmp_path / "b.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ModelError, match="b.safetensors"):
        check_weights(tmp_path)
