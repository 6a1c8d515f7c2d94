"""Where the network of a recorded figure is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.evidence.networks import NotHereError, on_this_machine
from tests.hubs import cached


def test_a_network_that_was_fetched_is_here_though_not_every_file_of_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tmp_path / "network"
    network.mkdir()
    (network / "config.json").write_text("{}")
    listed = ["config.json", "pytorch_model.bin", "README.md"]
    snapshot = cached(network, tmp_path / "cache", monkeypatch, listed)
    assert Path(on_this_machine("clip", "acme/tiny")) == snapshot


def test_a_network_that_is_not_here_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotHereError, match="clip acme/tiny .*--clip"):
        on_this_machine("clip", "acme/tiny")
