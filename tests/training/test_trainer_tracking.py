"""The log: a line of JSON per logged step, without gaps or doubles after a resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from efface.training.trainer import Tracking


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


STRANGE = (
    *(b"\xff\xfe", b"null", b"[]", b"3", b'"step"', b"{}", b'{"loss": 1}', b'{"step": null}'),
    *(b'{"step": "one"}', b'{"step": [1]}', b'{"step": NaN}', b'{"step": -Infinity}', b""),
    *(b'{"step": ' + b"9" * 5000 + b"}", b'{"step": 1e999}', b"[" * 100_000, b'{"step": -3}'),
)


@pytest.mark.parametrize("line", STRANGE)
def test_lines_that_are_none_of_ours_go(tmp_path: Path, line: bytes) -> None:
    ours = [b'{"step": 1, "loss": NaN}', b'{"step": 2}']
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([ours[0], line, ours[1], line]))
    Tracking(tmp_path, first_step=2).close()
    assert (tmp_path / "metrics.jsonl").read_bytes().splitlines() == ours
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
