"""Settings of the loop: every number has a range, and what has no effect is refused."""

from __future__ import annotations

import math

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError

from efface.settings.listing import describe
from efface.training.settings import TrainSettings

NUMBERS = [
    name for name, field in TrainSettings.model_fields.items() if field.annotation in
    (int, float, int | None, float | None)
]  # fmt: skip


@pytest.mark.parametrize("name", TrainSettings.model_fields)
def test_every_setting_says_what_it_is_in_a_sentence(name: str) -> None:
    description = describe(TrainSettings)[name]
    assert description and description[0].isupper() and description.endswith(".")


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_a_range_with_both_ends(name: str) -> None:
    kinds = {type(bound) for bound in TrainSettings.model_fields[name].metadata}
    assert kinds & {Ge, Gt} and kinds & {Le, Lt}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_are_not_finite_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=name):
        TrainSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clip_norm", -1.0),  # gradient ascent in place of descent
        ("clip_norm", 0.0),
        ("clip_value", -0.5),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("weight_decay", -0.01),
        ("warmup_steps", -5),
        ("guard_every", -1),
        ("guard_tolerance", 0.0),
        ("stop_every", -2),
        ("seed", -1),
        ("seed", 2**63),
        ("steps", 0),
        ("batch_size", 0),
        ("accumulation", 0),
        ("checkpoint_every", 0),
        ("log_every", 0),
        ("ema_decay", 1.0),
        ("learning_rate", -1e-4),
        ("lora_rank", 0),
        ("lora_alpha", 0.0),
        ("steps", "10"),
        ("compile", 1),
        ("base_dtype", "bf16"),
        ("mixed_precision", "fp16"),
        ("no_such_setting", 1),
    ],
)
def test_impossible_values_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        TrainSettings(**{name: value})
    assert name in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("lora_alpha", 8.0), ("base_dtype", "bfloat16")])
def test_settings_of_adapters_alone_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        TrainSettings(**{name: value})
    for part in (f"train.{name}", str(value), "train.lora_rank"):
        assert part in str(refused.value)
    TrainSettings(**{name: value, "lora_rank": 4})


def test_settings_cannot_be_changed_and_go_through_json() -> None:
    settings = TrainSettings(steps=7, clip_norm=1, base_dtype="float32")
    with pytest.raises(ValidationError, match="frozen"):
        settings.steps = 8  # pyright: ignore[reportAttributeAccessIssue]
    assert TrainSettings.model_validate_json(settings.model_dump_json(), strict=True) == settings
    assert settings.model_copy(update={"steps": 9}).steps == 9


def test_learning_rate_schedule() -> None:
    settings = TrainSettings(
        steps=110, warmup_steps=10, learning_rate=1.0, learning_rate_schedule="cosine"
    )
    assert settings.learning_rate_at(0) == pytest.approx(0.1)
    assert settings.learning_rate_at(10) == 1.0
    assert settings.learning_rate_at(60) == pytest.approx(0.5)
    assert settings.learning_rate_at(110) == pytest.approx(0.0)


def test_compiled_runs_are_off_by_default() -> None:
    assert not TrainSettings().compile
