"""Vision models of the hub: what is said where they cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.errors import DataError
from efface.metrics.pretrained import find_files
from tests.hubs import (
    Answer,
    breaks,
    hangs_up,
    hub,
    is_gated,
    refusing_proxy,
    serving,
    shows_a_page,
)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (hangs_up, r"which could not be reached \(RemoteProtocolError\): check the name and"),
        (shows_a_page, r"which answered with something else \(JSONDecodeError\)"),
        (breaks, r"which answered with an error \(status 500\)"),
        (is_gated, "where it is gated .*: accept its terms"),
    ],
)
def test_a_hub_that_fails_is_answered_with_one_sentence(
    answer: Answer, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = "acme/seer is no local folder and could not be had from the hub, "
    with hub(answer, tmp_path, monkeypatch), pytest.raises(DataError, match=begin + why):
        find_files("acme/seer")


def test_a_proxy_that_refuses_is_answered_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing_proxy(tmp_path, monkeypatch), pytest.raises(DataError, match="ProxyError"):
        find_files("acme/seer")


def test_weights_that_may_not_have_been_downloaded_are_not_said_to_be_missing_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seer").mkdir()
    (tmp_path / "seer" / "config.json").write_text("{}")
    with (
        hub(serving(tmp_path / "seer", []), tmp_path / "cache", monkeypatch),
        pytest.raises(DataError, match="no safetensors weights, unless they were not downloaded"),
    ):
        find_files("acme/seer")
    with pytest.raises(DataError, match="no safetensors weights: give a folder"):
        find_files(tmp_path / "seer")
