from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from efface.errors import DataError
from efface.requests.memorised.searching import Modification, Tried
from efface.requests.memorised.similarity import Sides
from efface.requests.memorised.stages import Stages, as_files, pack_preparation, read_prepared

TRIED = Modification(tried=(Tried(text="a bag", norm=1.5, copies=1, samples=4),))
SIDES = Sides(
    forget=torch.zeros(2, 3, 4, 4).byte(),
    retain=torch.ones(3, 3, 4, 4).byte(),
    undecided=1,
)


@pytest.mark.parametrize("outcome", [TRIED, SIDES])
def test_a_stage_is_made_once_and_read_as_it_was(tmp_path: Path, outcome: Any) -> None:
    made: list[str] = []

    def make() -> Any:
        made.append("made")
        return outcome

    for _ in range(2):
        found = Stages(tmp_path).once(type(outcome), make)
        for name, value in vars(outcome).items():
            kept = getattr(found, name)
            assert kept.equal(value) if isinstance(value, torch.Tensor) else kept == value
    assert made == ["made"]


def test_a_process_that_does_not_write_leaves_nothing(tmp_path: Path) -> None:
    Stages(tmp_path, writes=False).once(Modification, lambda: TRIED)
    assert not list(tmp_path.iterdir())


def test_a_stage_is_whole_once_its_json_is_there(tmp_path: Path) -> None:
    """Tensors are written first, so that a process that ends between both leaves no stage."""
    assert [*as_files(SIDES)] == ["sides.safetensors", "sides.json"]
    Stages(tmp_path).once(Sides, lambda: SIDES, lambda made: {"copies": made.forget})
    assert (tmp_path / "preparation" / "copies.png").exists()
    (tmp_path / "preparation" / "sides.json").unlink()
    assert Stages(tmp_path).read(Sides) is None


@pytest.fixture
def prepared(run: Path, tmp_path: Path) -> Path:
    """A copy of what a run was prepared with, to be changed."""
    shutil.copytree(run / "preparation", tmp_path / "run" / "preparation")
    return tmp_path / "run"


def rewrite(change: Callable[[dict[str, Any]], object], stage: str = "detection") -> Any:
    def apply(folder: Path) -> None:
        content = json.loads((folder / f"{stage}.json").read_text())
        change(content)
        (folder / f"{stage}.json").write_text(json.dumps(content))

    return apply


def reshape(change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "detection.safetensors")
        save_file(
            tensors | {"reference": change(tensors["reference"]).contiguous()},
            folder / "detection.safetensors",
        )

    return apply


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "detection.json").unlink(),
        lambda folder: (folder / "detection.json").write_text("[1]"),
        lambda folder: (folder / "detection.json").write_text("{"),
        lambda folder: (folder / "detection.safetensors").unlink(),
        lambda folder: (folder / "detection.safetensors").write_text("no tensors"),
        lambda folder: (folder / "modification.json").write_text('{"tried": [{"text": 1}]}'),
        rewrite(lambda content: content.update(threshold="high")),
        rewrite(lambda content: content.pop("compared_by")),
        rewrite(lambda content: content.update(tried=[]), "modification"),
        rewrite(lambda content: content["tried"][0].pop("text"), "modification"),
        reshape(lambda image: image[0]),
        reshape(lambda image: image + 1),
        reshape(lambda image: image * torch.nan),
    ],
)
def test_what_is_no_preparation_is_refused(prepared: Path, spoil: Callable[[Path], object]) -> None:
    read_prepared(prepared)
    spoil(prepared / "preparation")
    with pytest.raises(DataError, match=r"preparation.*run again"):
        read_prepared(prepared)
    with pytest.raises(DataError, match=r"preparation.*run again"):
        pack_preparation(prepared)


def test_a_packed_preparation_is_read_as_that_of_the_run(run: Path, tmp_path: Path) -> None:
    for name, content in pack_preparation(run).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (detection, modification), (own, other) = read_prepared(tmp_path), read_prepared(run)
    assert detection.reference.equal(own.reference)
    assert (detection.threshold, detection.copies) == (own.threshold, own.copies)
    assert modification.prompt == other.prompt


def test_neither_samples_nor_prompts_that_were_tried_are_packed(prepared: Path, run: Path) -> None:
    _, own = read_prepared(run)
    tried = (replace(own.prompt, text="a cat"), *own.tried)
    kept = as_files(Modification(tried=tried))["modification.json"]
    (prepared / "preparation" / "modification.json").write_bytes(kept)
    packed = pack_preparation(prepared)
    assert not any(name.endswith(".png") for name in packed)
    tensors = load(packed["preparation/detection.safetensors"])
    every = load_file(run / "preparation" / "detection.safetensors")
    assert any(len(tensor) for name, tensor in every.items() if name != "reference")
    assert [name for name, tensor in tensors.items() if len(tensor)] == ["reference"]
    assert b"a cat" in kept and b"a cat" not in packed["preparation/modification.json"]
