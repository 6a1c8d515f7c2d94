"""Weights that are published as a pickle: fetched once, checked, kept as tensors alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from efface.errors import DataError
from efface.files import hash_file
from efface.metrics import inception_network

WEIGHTS = {"fc.bias": torch.arange(5.0), "fc.weight": torch.arange(15.0).view(3, 5).T}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pickle at an address of this machine."""
    path = tmp_path / "published.pth"
    torch.save(WEIGHTS, path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(inception_network, "URL", path.as_uri())
    monkeypatch.setattr(inception_network, "SHA256", hash_file(path))
    return path


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_published_weights_are_fetched_once_and_kept_as_safetensors(
    published: Path, tmp_path: Path
) -> None:
    kept = inception_network.inception_weights()
    found = load_file(kept)
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())
    published.unlink()
    assert inception_network.inception_weights() == kept
    assert files_in(tmp_path) == [kept] and kept.suffix == ".safetensors"


def test_weights_with_another_checksum_are_refused_and_none_are_kept(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception_network, "SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"could not be had from file:.*check the network, or"):
        inception_network.inception_weights()
    published.unlink()
    with pytest.raises(DataError, match="URLError"):
        inception_network.inception_weights()
    assert not files_in(tmp_path)


def test_what_holds_more_than_tensors_is_refused(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"fc.bias": torch.nn.Linear(1, 1)}, published)
    monkeypatch.setattr(inception_network, "SHA256", hash_file(published))
    with pytest.raises(DataError, match=r"could not be had from file:.*\(UnpicklingError\)"):
        inception_network.inception_weights()
    assert files_in(tmp_path) == [published]
