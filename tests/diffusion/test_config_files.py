"""What the files of a pipeline folder may say; test_model_folder.py breaks whole folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from efface.diffusion.config_files import read_json, read_number, read_vae
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
