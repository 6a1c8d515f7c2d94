"""Figures of several runs as text."""

from __future__ import annotations

from efface.records import Value
from efface.reporting.comparison import Figure
from efface.reporting.overview import count_samples, write_difference, write_figure


def test_one_run_has_its_interval_and_several_seeds_their_range():
    one = Figure(value=0.5, low=0.4, high=0.6, values=(0.5,))
    assert write_figure(one, "share").interval == "40.0 to 60.0\u00a0%"
    assert write_difference(one, "share") == ""
    seeds = Figure(
        value=2.0, low=1.0, high=3.0, values=(1.0, 3.0), difference=Value(value=1, low=0, high=2)
    )
    assert write_figure(seeds, "x").interval == "1.00 to 3.00, s.d. 1.41 over 2 seeds"
    assert write_difference(seeds, "x") == "from the original model: +1.00 (0 to +2.00)"
    assert write_figure(None, "x").value == "–"
    assert count_samples(1) == "1 sample"
