"""Which samples a report shows."""

from __future__ import annotations

import numpy as np
import pytest

from efface.requests.images.protocol import COLUMNS, ROWS, comparison_order


@pytest.mark.parametrize("copied", [0, 3, 40])
def test_copies_come_first_and_take_half_of_the_places_at_most(copied: int) -> None:
    """Copies of either model, at the end of its samples."""
    before, after = np.zeros((2, 200), dtype=bool)
    before[200 - copied :] = True
    after[10:12] = True
    order, places = comparison_order([before, after]), COLUMNS * ROWS
    first = sorted({10, 11, *range(200 - copied, 200)})[: places // 2]
    assert order[: len(first)] == first
    assert len(order) == len(set(order)) == places
    assert order[len(first) :] == sorted(order[len(first) :])


def test_fewer_samples_than_places_are_all_shown() -> None:
    copies = np.array([False, True, False])
    assert comparison_order([copies, copies]) == [1, 0, 2]
