from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.errors import ConfigError
from efface.requests.memorised.checks import check_settings
from efface.settings.base import Settings

MakeSettings = Callable[..., Settings]
# The student equals its teacher in all rows, and of four rows none is retain-only.
STANDSTILL = ["train.batch_size=4", "method.retain_target=teacher"]
STANDSTILL += ["method.retain_only_target=noise", "memorised.control_share=0"]


@pytest.fixture
def model(pipelines: Callable[[str], Path]) -> ModelInfo:
    return inspect_model(pipelines("sd"))


@pytest.mark.parametrize(
    ("changes", "more", "remedy"),
    [
        ([], {"method": "posterior_subtraction"}, r"memorised\.original_share=0"),
        (["method.retain_target=subtracted"], {}, r"memorised\.original_share=0"),
        (STANDSTILL, {}, r"never begins.*method\.retain_target=noise"),
        ([*STANDSTILL[:-1], "memorised.control_share=0.2"], {}, r"never begins"),
        (["train.stop_by=likelihood"], {}, r"train\.stop_by"),
        (["method.rule_name=fixed_norm", "method.fixed_norm=750"], {}, r"rule_name=relative_norm"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    model: ModelInfo,
    make_settings: MakeSettings,
    changes: list[str],
    more: dict[str, Any],
    remedy: str,
) -> None:
    with pytest.raises(ConfigError, match=remedy):
        check_settings(model, make_settings(changes, **more))


@pytest.mark.parametrize(
    "changes",
    [
        [*STANDSTILL[:2], "method.retain_only_target=noise", "memorised.control_share=0.25"],
        [*STANDSTILL, "method.rule_name=fixed_norm"],
        [*STANDSTILL, "method.rule_name=dual"],
        ["method.retain_only_target=teacher", "memorised.control_share=0.25"],
        ["method.rule_name=fixed_norm", "method.fixed_norm=7"],
    ],
)
def test_settings_that_begin_are_taken(
    model: ModelInfo, make_settings: MakeSettings, changes: list[str]
) -> None:
    check_settings(model, make_settings(changes))


def test_the_published_norm_is_taken_for_the_latents_that_it_belongs_to(
    model: ModelInfo, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(["method.rule_name=fixed_norm", "method.fixed_norm=750"])
    with pytest.raises(ConfigError, match="4x8x8"):
        check_settings(model, settings)
    monkeypatch.setattr("efface.requests.memorised.checks.PUBLISHED_LATENTS", (4, 8, 8))
    check_settings(model, settings)


def test_shares_of_the_samples_of_one_prompt_are_of_no_use_to_several(
    model: ModelInfo, make_settings: MakeSettings
) -> None:
    settings = make_settings(["memorised.original_share=0"], method="posterior_subtraction")
    check_settings(model, settings)
    with pytest.raises(ConfigError, match="needs the share of copies .* and here are 2"):
        check_settings(model, settings, captions=2)
