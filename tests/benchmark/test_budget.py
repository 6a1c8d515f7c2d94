"""A budget in forwards is kept to within one step."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.benchmark.budget import Cost, count_cost
from efface.errors import ConfigError
from efface.records import read_record
from efface.requests.classes.request import ForgetClass
from efface.runs.forget import forget
from efface.runs.plan import make_plan

SMALL = ["train.batch_size=4", "train.guard_every=0"]


@pytest.mark.parametrize("method", ["sfd", "redirection"])
def test_a_run_takes_the_forwards_that_were_foreseen(method: str, tmp_path: Path) -> None:
    request = ForgetClass(labels=(2,), replacement=(7,))
    plan = make_plan("zoo:digits", request, method=method, changes=SMALL)
    cost = count_cost(plan)
    steps = cost.steps_within(600)
    changes = [*SMALL, f"train.steps={steps}"]
    out = tmp_path / "run"
    forget("zoo:digits", request, out, method=method, changes=changes, measure=False)
    taken = read_record(out).forwards
    assert taken is not None and taken <= 600 < taken + cost.per_step
    assert taken == cost.before + steps * cost.per_step


def test_a_budget_of_less_than_a_step_is_refused() -> None:
    cost = Cost(before=100, per_step=10)
    assert cost.steps_within(139) == 3
    with pytest.raises(ConfigError, match="less than one step, which takes 110"):
        cost.steps_within(109)
