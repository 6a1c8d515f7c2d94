"""How many steps a budget of network forwards is: counted in a few steps that are made here."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from efface.benchmark.file import STEPS
from efface.data.randomness import random_state_kept
from efface.errors import ConfigError
from efface.records import read_record
from efface.runs.forget import begin_record, carry_out
from efface.runs.plan import Plan
from efface.training.checkpoint import Checkpoints

TRIED = 8  # steps, of which the second half is counted apart
QUIET = {"train.guard_every": 0, "train.stop_every": 0, "train.warmup_steps": 0}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Forwards of training: before the first step, and of each one."""

    before: float
    per_step: float

    def steps_within(self, forwards: int) -> int:
        """The most steps that a budget allows; ConfigError where that is none."""
        steps = int((forwards - self.before) // self.per_step)
        if steps < 1:
            needed = round(self.before + self.per_step)
            raise ConfigError(
                f"a budget of {forwards:,} forwards is less than one step, which takes {needed:,}: "
                "raise forwards."
            )
        return steps


def count_cost(plan: Plan) -> Cost:
    """Make a few steps of a run in a folder that is gone afterwards.

    The samples of the collapse guard are no part of it.
    """
    half = TRIED // 2
    settings = plan.settings.changed(QUIET | {STEPS: TRIED, "train.checkpoint_every": half})
    plan = replace(plan, settings=settings)
    with tempfile.TemporaryDirectory() as folder, random_state_kept():
        run = Path(folder) / "run"
        carry_out(plan, begin_record(plan), run, False, None)
        early = Checkpoints.restore(run / "checkpoints" / f"step_{half:08d}", {}).forwards
        late = read_record(run).forwards
    assert late is not None  # of a finished run
    per_step = (late - early) / (TRIED - half)
    return Cost(before=early - half * per_step, per_step=per_step)
