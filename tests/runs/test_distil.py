"""A one-step generator by one call, as the command makes it."""

from __future__ import annotations

import inspect
from pathlib import Path

import efface
from efface.records import read_record

SMALL = ("train.steps=2", "train.batch_size=4", "train.ignore_memory=true")


def test_it_is_a_run_that_forgets_nothing(tiny_model: Path, tmp_path: Path) -> None:
    run = efface.distil(tiny_model, tmp_path / "run", changes=SMALL, measure=False)
    assert read_record(run).request == efface.Distil().model_dump(mode="json")
    assert (run / "pipeline" / "model_index.json").exists()


def test_its_arguments_are_those_of_forget() -> None:
    own, all_of_them = (
        set(inspect.signature(f).parameters) for f in (efface.distil, efface.forget)
    )
    assert own - {"retain_prompts"} <= all_of_them
