"""All attacks of a whole run in a few seconds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from efface.attacks import goals, names, resolve, weak
from efface.attacks.goals import Goal
from efface.records import Attacks, read_attacks
from tests.attacks.conftest import TINY


def shorten_attacks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Changes to the settings of all attacks."""
    monkeypatch.setattr(weak, "SAMPLES", 4)
    monkeypatch.setattr(weak, "STEPS", 2)
    monkeypatch.setattr(weak, "ROWS", 4)
    monkeypatch.setattr(weak, "RATES", (2e-3,))
    monkeypatch.setattr(goals, "EXAMPLE_STEPS", 2)
    changes = []
    for name in names():
        fields = resolve(name).model_fields
        usual = {"sampling_steps": 2, "repeats": 0} | TINY[name] | {"samples": 4}
        for key, value in usual.items():
            if key in fields:
                changes.append(f"{name}.{key}={list(value) if isinstance(value, tuple) else value}")
    return changes


def check_attacks(found: Attacks, run: Path, goal_class: type[Goal]) -> None:
    """All attacks that apply were run, and every model was sampled at every point."""
    fitting = [n for n in names() if resolve(n).model_construct().misfit(goal_class, False) is None]
    assert [result.attack for result in found.results] == fitting
    assert read_attacks(run) == Attacks.model_validate_json(found.model_dump_json())
    for result in found.results:
        lines = result.curve.lines
        assert {"result", "baseline", "weak"} <= lines.keys(), result.attack
        for points in lines.values():
            assert points and all(math.isfinite(p.x) and 0 <= p.value <= 1 for p in points)
    (relearned,) = (result for result in found.results if result.attack == "relearning")
    assert [p.x for p in relearned.curve.lines["result"]] == [0, 1, 2]
