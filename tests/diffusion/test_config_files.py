"""What the files of a pipeline folder may say; test_model_folder.py breaks whole folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from efface.diffusion.config_files import read_json, read_number, read_vae, understanding
from efface.errors import ModelError


def test_a_missing_file_is_named_with_what_it_is_good_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config.json is missing: it describes the network\."):
        read_json(tmp_path / "config.json", "it describes the network")


@pytest.mark.parametrize("value", [1, 0.5])
def test_a_number_above_0_is_taken_as_it_is(value: float) -> None:
    assert read_number({"input_scale": value}, "input_scale", 2.0, Path()) == value
    assert read_number({}, "input_scale", 2.0, Path()) == 2.0


@pytest.mark.parametrize("value", [0, -1, float("nan"), "1"])
def test_any_other_number_is_refused(value: Any) -> None:
    with pytest.raises(ModelError, match="gives input_scale as .*: a number above 0"):
        read_number({"input_scale": value}, "input_scale", 2.0, Path("model"))


@pytest.mark.parametrize(("blocks", "pixels"), [(1, 1), (2, 2), (4, 8)])
def test_a_vae_halves_a_side_at_each_block_but_the_first(
    tmp_path: Path, blocks: int, pixels: int
) -> None:
    (tmp_path / "vae").mkdir()
    config = {"out_channels": 3, "block_out_channels": [8] * blocks}
    (tmp_path / "vae" / "config.json").write_text(json.dumps(config))
    assert read_vae(tmp_path) == (3, pixels)
    (tmp_path / "vae" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="does not say what images the VAE makes"):
        read_vae(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        "no text", [], ValueError("x"), TypeError("x"), KeyError("x"),
        IndexError("x"), AttributeError("x"), OverflowError("x"), ZeroDivisionError("x"),
        RecursionError("x"),
    ],
)  # fmt: skip
def test_a_value_that_nobody_thought_of_is_one_sentence(damage: object) -> None:
    @understanding
    def inspect(model: str) -> object:
        if isinstance(damage, Exception):
            raise damage
        return damage

    if not isinstance(damage, Exception):
        assert inspect("m") is damage
        return
    with pytest.raises(ModelError, match="a JSON file of m holds a value of a type"):
        inspect("m")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, b"[1]", b"3", b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_a_file_that_is_no_object_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match="write the model anew"):
        read_json(tmp_path / "config.json", "it describes the network")
    with pytest.raises(ModelError, match="cannot be read"):
        read_json(tmp_path, "it describes the network")
