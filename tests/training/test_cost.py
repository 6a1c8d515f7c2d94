"""What a run costs in forwards, against counts by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from efface.errors import Stopped
from efface.methods.base import Method
from efface.methods.redirection import Redirection
from efface.methods.sfd import SFD
from efface.training.cost import Forwards
from efface.training.trainer import Trainer
from tests.tiny import make_tiny_unet

MakeTrainer = Callable[..., Trainer]
ROWS = 8 + 4  # of one step: the fixture's retained rows, and half as many forget rows
FIRST = 2 * 32  # images of the two replacements, before the first step


@pytest.mark.parametrize(
    ("method", "per_row"),
    [
        # A pass of the student without gradient, the fake score with 3, the student with 3, teacher
        # and fake score with gradient to the image.
        (SFD(forget_share=0.5), 1 + 3 + 3 + 2 + 2),
        (SFD(forget_share=0.5, share_student_pass=True), 3 + 3 + 2 + 2),
        (SFD(forget_share=0.5, share_student_pass=True, teacher_guidance=1.5), 3 + 3 + 4 + 2),
        (SFD(forget_share=0.5, stop_score_gradient=True), 1 + 3 + 3 + 1 + 1),
        (Redirection(forget_share=0.5, partial_steps=5), 5 + 1 + 3),
    ],
    ids=["as published", "shared", "guided", "without score gradient", "redirection"],
)
def test_a_run_counts_what_a_hand_counts(
    make_trainer: MakeTrainer, tmp_path: Path, method: Method, per_row: int
) -> None:
    result = make_trainer(make_tiny_unet(), tmp_path, method).run()
    assert result.forwards == FIRST + 3 * ROWS * per_row


def test_a_resumed_run_counts_what_came_before(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    whole = make_trainer(make_tiny_unet(), tmp_path / "whole").run()

    def stop(step: int) -> None:
        if step == 2:
            raise Stopped("here", 2)

    settings = {"checkpoint_every": 1}
    with pytest.raises(Stopped):
        make_trainer(make_tiny_unet(), tmp_path / "cut", **settings).run(on_step=stop)
    resumed = make_trainer(make_tiny_unet(), tmp_path / "cut", **settings).run(resume=True)
    assert resumed.forwards == whole.forwards


def test_networks_that_share_a_module_are_counted_once() -> None:
    network, forwards = nn.Linear(2, 2), Forwards()
    with forwards.counted([network, network]):
        network(torch.zeros(5, 2))
    network(torch.zeros(5, 2))
    assert forwards.count == 5 * 3
