from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from efface.requests.memorised.searching import Prober, Tried, bisect


@pytest.mark.parametrize("edge", [0, 3, 7, 12, 15])
def test_bisection_finds_the_one_candidate_in_the_band(
    make_prober: Callable[..., Prober], edge: int
) -> None:
    """Shares that fall from 1 to 0 with one candidate between."""
    prober = make_prober(left=99)
    seen: list[int] = []

    def probe(number: int) -> Tried:
        seen.append(number)
        share = 10 if number < edge else 5 if number == edge else 0
        return Tried(way="tokens", text=None, weight=None, norm=0.0, copies=share, images=10)

    assert bisect(16, probe, prober) == edge
    assert len(seen) <= math.ceil(math.log2(16)) + 1


def test_what_was_tried_is_read_as_it_was_written() -> None:
    tried = Tried(way="tokens", text="a bag", weight=None, norm=1.5, copies=1, images=4)
    assert tried.to_json()["share"] == 0.25
    assert Tried.from_json(tried.to_json()) == tried
