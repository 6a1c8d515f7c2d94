"""Whether a run fits, and what is said where it does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from efface.diffusion.model_folder import inspect_model
from efface.errors import ConfigError
from efface.memory.estimate import Amounts, estimate, forget_rows, readable
from efface.memory.preflight import available_memory, check_memory, find_shortage
from efface.settings.base import Settings

Pipelines = Callable[[str], Path]
SettingsOf = Callable[..., Settings]
SetFree = Callable[[int], None]


def amounts_of(settings: Settings) -> Amounts:
    return Amounts(forget_rows=forget_rows(settings), prompts=4)


@pytest.fixture
def set_free(monkeypatch: pytest.MonkeyPatch) -> SetFree:
    """Let so many bytes be free."""

    def give(size: int) -> None:
        monkeypatch.setattr("efface.memory.preflight.available_memory", lambda *_: size)

    return give


def test_a_run_that_does_not_fit_is_refused_with_what_to_change(
    pipelines: Pipelines, settings_of: SettingsOf, set_free: SetFree
) -> None:
    """With those settings it fits."""
    info, settings = inspect_model(pipelines("sd3")), settings_of("siss")
    needed = estimate(info, settings, amounts_of(settings)).peak(evaluated=True)
    set_free(needed)
    check_memory(info, settings, amounts_of, Accelerator(), True)
    set_free(needed // 2)
    with pytest.raises(ConfigError) as refused:
        check_memory(info, settings, amounts_of, Accelerator(), True)
    sentence = str(refused.value)
    for part in (readable(needed), readable(needed // 2), "free on cpu", "ignore_memory=true"):
        assert part in sentence
    advice = re.findall(r"((?:train|evaluate)\.(?!ignore)\w+)=(\w+)", sentence)
    changed = settings_of("siss", *(f"{name}={value}" for name, value in advice))
    assert advice and estimate(info, changed, amounts_of(changed)).peak(True) <= needed // 2
    check_memory(info, changed, amounts_of, Accelerator(), True)


def test_a_run_that_never_fits_is_refused_unless_memory_is_ignored(
    pipelines: Pipelines, settings_of: SettingsOf, set_free: SetFree
) -> None:
    info = inspect_model(pipelines("sd3"))
    set_free(1000)
    with pytest.raises(ConfigError, match=r"no setting brings it below \d.*smaller model"):
        check_memory(info, settings_of("siss"), amounts_of, Accelerator(), True)
    check_memory(
        info, settings_of("siss", "train.ignore_memory=true"), amounts_of, Accelerator(), True
    )


def test_an_evaluation_counts_where_there_is_one(
    pipelines: Pipelines, settings_of: SettingsOf, set_free: SetFree
) -> None:
    info = inspect_model(pipelines("sd3"))
    settings = settings_of("sfd", "evaluate.batch_size=64")
    taken = estimate(info, settings, amounts_of(settings))
    assert taken.peak(evaluated=False) < taken.peak(evaluated=True)
    set_free(taken.peak(evaluated=False))
    assert find_shortage(info, settings, amounts_of, Accelerator(), False) is None
    shortage = find_shortage(info, settings, amounts_of, Accelerator(), True)
    assert shortage is not None and "evaluate.batch_size=4" in shortage


def test_no_more_accumulation_is_proposed_than_it_takes(
    pipelines: Pipelines, settings_of: SettingsOf, set_free: SetFree
) -> None:
    """Eight parts would do as well, and train on fewer rows at once."""
    info = inspect_model(pipelines("sd3"))
    small = ["train.lora_rank=2", "train.base_dtype=bfloat16", "train.gradient_checkpointing=true"]
    settings = settings_of("siss", *small, "train.batch_size=8")
    for parts in (2, 4):
        fewer = settings.changed({"train.accumulation": parts})
        set_free(estimate(info, fewer, amounts_of(fewer)).peak(evaluated=False))
        with pytest.raises(ConfigError, match=f"with train.accumulation={parts} it needs"):
            check_memory(info, settings, amounts_of, Accelerator(), False)


def test_amounts_are_asked_for_under_the_settings_that_are_tried(
    tiny_model: Path, settings_of: SettingsOf, set_free: SetFree
) -> None:
    """A request whose preparation takes less in another precision of samples."""
    info, settings = inspect_model(tiny_model), settings_of("siss", "evaluate.batch_size=4")

    def preparing(settings: Settings) -> Amounts:
        size = 10**9 if settings.evaluate.dtype == "float32" else 10**6
        return Amounts(forget_rows=forget_rows(settings), preparation=size)

    set_free(10**9)
    shortage = find_shortage(info, settings, preparing, Accelerator(), False)
    assert shortage is not None and "with evaluate.dtype=bfloat16 it needs" in shortage


@pytest.mark.parametrize("ignored", ["true", "false"])
def test_a_batch_that_cannot_be_shared_equally_is_refused_first(
    ignored: str, pipelines: Pipelines, settings_of: SettingsOf, set_free: SetFree
) -> None:
    """Two forget rows in four parts, whether memory is ignored or not."""
    settings = settings_of("sfd", "train.accumulation=4", f"train.ignore_memory={ignored}")
    set_free(1000)
    with pytest.raises(ConfigError, match=r"forget rows.*multiple of 4"):
        check_memory(inspect_model(pipelines("sd")), settings, amounts_of, Accelerator(), True)


def test_processes_share_what_the_machine_has_left() -> None:
    free, shared = (available_memory(torch.device("cpu"), count) for count in (1, 3))
    assert free > 2 * shared > 0


@pytest.mark.gpu
def test_what_a_gpu_has_left_is_its_own() -> None:
    free, whole = torch.cuda.mem_get_info()
    assert available_memory(torch.device("cuda"), 2) == pytest.approx(free, abs=whole / 100)
