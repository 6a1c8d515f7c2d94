"""What to change where a run does not fit: of small sizes by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from efface.errors import ConfigError
from efface.memory.estimate import Amounts
from efface.memory.preflight import accumulations, advise
from efface.settings.base import Settings, read_settings

SettingsOf = Callable[..., Settings]
AMOUNTS = Amounts(forget_rows=4)


def needs(sizes: Mapping[str, int], start: int = 1000) -> Callable[[Settings], int]:
    """What is needed: `start`, less a size for every setting that has another value than now.

    Of accumulation its size for every further part.
    """

    def needed(settings: Settings) -> int:
        content = settings.to_json()
        values = {
            "train.gradient_checkpointing": content["train"]["gradient_checkpointing"],
            "train.accumulation": content["train"]["accumulation"] - 1,
            "train.lora_rank": content["train"]["lora_rank"] is not None,
            "train.base_dtype": content["train"]["base_dtype"] == "bfloat16",
            "evaluate.batch_size": content["evaluate"]["batch_size"] == 4,
            "evaluate.dtype": content["evaluate"]["dtype"] == "bfloat16",
        }
        return start - sum(size * int(values[name]) for name, size in sizes.items())

    return needed


def test_one_change_is_proposed_where_one_will_do(settings_of: SettingsOf) -> None:
    needed = needs({"train.gradient_checkpointing": 100, "evaluate.dtype": 300})
    text = advise(settings_of("sfd"), AMOUNTS, 1, 700, needed)
    assert "evaluate.dtype=bfloat16" in text and "700 B" in text
    assert "gradient_checkpointing" not in text


def test_no_more_changes_are_proposed_than_it_takes(settings_of: SettingsOf) -> None:
    sizes = {"train.gradient_checkpointing": 100, "evaluate.dtype": 300, "train.lora_rank": 250}
    text = advise(settings_of("sfd"), AMOUNTS, 1, 450, needs(sizes))
    assert "train.lora_rank=16 and evaluate.dtype=bfloat16" in text and "450 B" in text
    assert "gradient_checkpointing" not in text


def test_no_more_accumulation_is_proposed_than_it_takes(settings_of: SettingsOf) -> None:
    """Eight parts would do as well, and train on fewer rows at once."""
    settings = settings_of("sfd", "train.batch_size=8")
    needed = needs({"train.accumulation": 100})
    assert "train.accumulation=4 it" in advise(settings, AMOUNTS, 1, 750, needed)
    assert "train.accumulation=2 it" in advise(settings, AMOUNTS, 1, 950, needed)


def test_settings_that_save_already_are_not_proposed(settings_of: SettingsOf) -> None:
    settings = settings_of(
        "sfd",
        "train.gradient_checkpointing=true",
        "train.lora_rank=2",
        "train.base_dtype=bfloat16",
        "evaluate.batch_size=4",
        "evaluate.dtype=bfloat16",
    )
    text = advise(settings, AMOUNTS, 1, 900, needs({"train.accumulation": 100}, start=1200))
    assert "with train.accumulation=4 it" in text


def test_where_nothing_will_do_the_least_is_named(settings_of: SettingsOf) -> None:
    sizes = {"evaluate.dtype": 300, "train.lora_rank": 250, "train.base_dtype": 100}
    text = advise(settings_of("sfd"), AMOUNTS, 1, 349, needs(sizes))
    assert "no setting" in text and "350 B" in text and "smaller model" in text


def test_adapters_are_not_proposed_for_a_network_without_attention(
    settings_of: SettingsOf,
) -> None:
    sizes = {"evaluate.dtype": 300, "train.lora_rank": 600, "train.base_dtype": 100}

    def needed(settings: Settings) -> int:
        if settings.train.lora_rank is not None:
            raise ConfigError("train.lora_rank was set, and there is nothing to change.")
        return needs(sizes)(settings)

    assert "evaluate.dtype=bfloat16" in advise(settings_of("sfd"), AMOUNTS, 1, 700, needed)
    hopeless = advise(settings_of("sfd"), AMOUNTS, 1, 600, needed)
    assert "no setting" in hopeless and "700 B" in hopeless


@pytest.mark.parametrize(
    ("changes", "forget_rows", "processes", "parts"),
    [
        (["train.batch_size=8", "train.accumulation=2"], 8, 1, [4, 8]),
        (["train.batch_size=12"], 12, 1, [2, 3, 4, 6, 12]),
        (["train.batch_size=12"], 4, 1, [2, 4]),
        (["train.batch_size=12"], 12, 2, [2, 3, 6]),
        (["train.batch_size=12"], 0, 4, [3]),
        # A pass that phases share cannot be accumulated over processes.
        (["train.batch_size=8", "method.share_student_pass=true"], 8, 2, []),
        (["train.batch_size=8", "method.share_student_pass=true"], 8, 1, [2, 4, 8]),
    ],
)
def test_parts_share_a_batch_equally(
    changes: list[str],
    forget_rows: int,
    processes: int,
    parts: list[int],
    settings_of: SettingsOf,
) -> None:
    settings = settings_of("sfd", *changes)
    assert list(accumulations(settings, forget_rows, processes)) == parts


def test_where_nothing_is_trained_the_evaluation_alone_is_changed() -> None:
    settings = read_settings("none", None, method="uce")
    needed = needs({"train.gradient_checkpointing": 500, "evaluate.batch_size": 300})
    text = advise(settings, Amounts(forget_rows=0), 1, 700, needed)
    assert "evaluate.batch_size=4" in text and "train." not in text
    text = advise(settings, Amounts(forget_rows=0), 1, 600, needed)
    assert text.startswith("no setting brings it below 700 B")
