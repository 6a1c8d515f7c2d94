"""Whether a run fits, and what to change where it does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from efface.cli import app
from efface.diffusion.model_folder import inspect_model
from efface.errors import ConfigError
from efface.memory.advice import accumulations, changed
from efface.memory.estimate import Amounts, estimate, readable
from efface.memory.preflight import available_memory, check_memory, preflight
from efface.runs.forget import forget
from efface.settings.reading import read_settings
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.requests.concept.test_runs import BAG

Pipelines = Callable[[str], Path]
SMALL = ["train.steps=2", "train.batch_size=4", 'prompts.templates=["a {}"]']
SMALL += ['prompts.subjects=["cat", "dog"]', "method.forget_share=0.5"]


def no_model(*_: object, **__: object) -> None:
    raise AssertionError("the model was loaded")


def test_a_run_that_does_not_fit_is_refused_before_the_model_is_loaded(
    pipelines: Pipelines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_settings(None, None, SMALL, ["concept"])
    info = inspect_model(pipelines("sd3"))
    encoded = Amounts(prompts=8)  # a bag, a coat, a cat, a dog; and as the encoder keeps them
    needed = estimate(info, settings, encoded).peak
    monkeypatch.setattr("efface.runs.forget.load", no_model)
    monkeypatch.setattr("efface.memory.preflight.available_memory", lambda *_: needed // 2)
    with pytest.raises(ConfigError) as refused:
        forget(pipelines("sd3"), BAG, tmp_path / "out", changes=SMALL)
    assert not (tmp_path / "out").exists()
    sentence = str(refused.value)
    for part in (readable(needed), readable(needed // 2), "are free on cpu", "ignore_memory=true"):
        assert part in sentence
    advice = re.findall(r"(?:train|evaluate)\.(?!ignore)\w+=\w+", sentence)
    changed = read_settings(None, None, [*SMALL, *advice], ["concept"])
    assert advice and estimate(info, changed, encoded).peak <= needed // 2
    monkeypatch.setattr("efface.memory.preflight.available_memory", lambda *_: 1000)
    with pytest.raises(ConfigError, match=r"no setting brings it below \d.*take a smaller model"):
        forget(pipelines("sd3"), BAG, tmp_path / "out", changes=SMALL)
    with pytest.raises(AssertionError, match="the model was loaded"):
        nevertheless = [*SMALL, "train.ignore_memory=true"]
        forget(pipelines("sd3"), BAG, tmp_path / "out", changes=nevertheless)


def test_no_more_accumulation_is_proposed_than_it_takes(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight parts would do as well, and train on fewer rows at once."""
    info, alone = inspect_model(pipelines("sd3")), Amounts(measured=False)
    small = ["train.lora_rank=2", "train.base_dtype=bf16", "train.gradient_checkpointing=true"]
    settings = read_settings("sfd", None, [*small, "train.batch_size=8"])
    for parts in (2, 4):
        fits = estimate(info, changed(settings, {"train.accumulation": parts}), alone).peak
        monkeypatch.setattr("efface.memory.preflight.available_memory", lambda *_, fits=fits: fits)
        with pytest.raises(ConfigError, match=f"with train.accumulation={parts} it needs"):
            check_memory(info, settings, torch.device("cpu"), alone)
    assert [list(accumulations(*given)) for given in ((8, 2), (12, 1), (3, 1))] == [
        [4, 8],
        [2, 4, 12],
        [3],
    ]


def test_the_table_ends_in_what_there_is(tiny_model: Path) -> None:
    found = preflight(tiny_model, changes=SMALL)
    rows = dict(found.rows)
    assert found.shortage is None
    assert {"student", "optimizer", "activations", "at most", "free on cpu"} <= rows.keys()
    free = available_memory(torch.device("cpu"))
    assert rows["free on cpu"].endswith("B") and free > 2 * available_memory(
        torch.device("cpu"), processes=3
    )
    assert [readable(n) for n in (0, 999, 12_345, 3 * 10**10)] == [
        "0 B",
        "999 B",
        "12.3 KB",
        "30 GB",
    ]


def test_the_command_says_what_to_change_where_a_run_would_not_fit(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its last line, and exits with 1; with those settings it fits, and exits with 0."""
    settings = read_settings(None, None, SMALL, ["concept"])
    needed = estimate(inspect_model(pipelines("sd3")), settings).peak

    def told(*changes: str) -> tuple[int, str]:
        given = [part for change in (*SMALL, *changes) for part in ("--set", change)]
        found = CliRunner().invoke(app, ["preflight", str(pipelines("sd3")), *given])
        return found.exit_code, found.output.splitlines()[-1]

    monkeypatch.setattr("efface.memory.preflight.available_memory", lambda *_: needed)
    code, last = told()
    assert code == 0 and last.split("  ")[0].strip() == "free on cpu"
    monkeypatch.setattr("efface.memory.preflight.available_memory", lambda *_: needed // 2)
    code, last = told()
    assert code == 1 and last.startswith(f"this run needs about {readable(needed)} by estimate")
    advice = re.findall(r"(?:train|evaluate)\.(?!ignore)\w+=\w+", last)
    assert advice and told(*advice)[0] == 0
    monkeypatch.setattr("efface.memory.preflight.available_memory", lambda *_: 1000)
    code, last = told()
    assert code == 1 and "take a smaller model or a machine with more memory" in last


def test_a_search_without_an_embedding_is_proposed_where_that_is_what_it_takes(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, amounts = inspect_model(pipelines("sd")), Amounts(prepared=True, searched=True)
    settings = read_settings("siss", None, ["train.batch_size=4", "memorised.noises=64"])
    without = changed(settings, {"memorised.search": ("tokens",)})
    fits = estimate(info, without, amounts).peak
    monkeypatch.setattr("efface.memory.preflight.available_memory", lambda *_: fits)
    with pytest.raises(ConfigError, match=r'with memorised.search=\["tokens"\] it needs about'):
        check_memory(info, settings, torch.device("cpu"), amounts)


def test_a_method_with_fewer_networks_takes_less(tiny_model: Path) -> None:
    """SISS trains one network and holds two, SFD trains two and holds more."""
    held = {}
    for method in ("sfd", "siss"):
        rows = dict(preflight(tiny_model, method).rows)
        held[method] = rows["while it trains"]
    sizes = {name: estimate(inspect_model(tiny_model), read_settings(name)) for name in held}
    assert sizes["siss"].peak < sizes["sfd"].peak and held["siss"] != held["sfd"]
    told = CliRunner().invoke(app, ["preflight", str(tiny_model), "--method", "siss"])
    assert told.exit_code == 0 and held["siss"] in told.output
