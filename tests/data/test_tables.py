"""Data sets of the hub: what is said where they cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from efface.data.tables import read_data_set
from efface.errors import DataError
from tests.hubs import Answer, does_not_know, hangs_up, hub, refusing_proxy, shows_a_page

datasets = pytest.importorskip("datasets")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (hangs_up, r"which could not be reached \(RemoteProtocolError\)"),
        (shows_a_page, r"which gave nothing that can be read \(FileNotFoundError\)"),
        (does_not_know, r"which gave nothing that can be read \(DatasetNotFoundError\)"),
        (None, r"which could not be reached \(ProxyError\)"),
    ],
)
def test_a_hub_that_fails_is_answered_with_one_sentence(
    answer: Answer | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = hub(answer, tmp_path, monkeypatch) if answer else None
    with failing or refusing_proxy(tmp_path, monkeypatch):
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", constants.ENDPOINT)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "data")
        with pytest.raises(DataError, match="datasets:acme/captions cannot be read") as caught:
            read_data_set("datasets:acme/captions", "train")
    assert caught.match(f"hub, {why}: check its id, its split 'train' and the connection")
    assert "\n" not in str(caught.value)
