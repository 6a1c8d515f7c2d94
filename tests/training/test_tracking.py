"""The log: a line of JSON per logged step, without gaps or doubles after a resume."""

from __future__ import annotations

import json
from pathlib import Path

from efface.training.tracking import Tracking


def steps(folder: Path) -> list[int]:
    return [
        json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def test_a_resumed_run_drops_the_lines_that_it_writes_again(tmp_path: Path) -> None:
    tracking = Tracking(tmp_path)
    for step in (1, 2, 3):
        tracking.log(step, {"loss": 0.5})
    tracking.close()
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')  # cut off when the process was killed
    again = Tracking(tmp_path, first_step=2)
    again.log(3, {"loss": 0.25})
    again.close()
    assert steps(tmp_path) == [1, 2, 3]
