"""One row per forgotten image."""

from __future__ import annotations

from efface.reporting.image_table import SHOWN, image_table
from tests.reporting.image_runs import make_image_evaluation


def test_images_that_are_known_best_come_first_and_many_fold_away():
    evaluation = make_image_evaluation(names=[f"{n}.png" for n in range(30)])
    evaluation.pictures[29].copies = 2
    evaluation.pictures[28].loss = 0.001
    evaluation.pictures[27].loss = float("nan")
    table = image_table(evaluation)
    assert table is not None
    assert [row.number for row in table.rows[:3]] == [30, 29, 1]
    assert (len(table.rows), len(table.folded)) == (SHOWN, 30 - SHOWN)
    assert table.folded[-1].number == 28
