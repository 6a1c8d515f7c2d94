"""The value that is reported is chosen by a rule that is declared."""

from __future__ import annotations

from typing import Any

from efface.benchmark.file import MethodRow, Strength
from efface.benchmark.results import BenchRun
from efface.benchmark.strength import choose, chosen_value

ROW = MethodRow(name="a", strength=Strength(setting="train.steps", values=(1, 2, 3)))


def run(value: int, **changed: Any) -> BenchRun:
    given: dict[str, Any] = {
        "row": "a", "request": "label 5", "asked": {}, "seed": 100, "value": value,
        "selection": True, "folder": str(value), "settings": {}, "status": "finished",
        "forwards": 100 * value, "excess": {"gone": 0.5, "kept": 0.5},
    }  # fmt: skip
    return BenchRun(**(given | changed))


def test_the_cheapest_value_within_all_margins_is_chosen() -> None:
    runs = [run(1, excess={"gone": 2.0, "kept": 0.1}), run(2), run(3)]
    tried = choose(ROW, runs)
    assert chosen_value(tried) == 2
    assert [one.reason for one in tried] == ["worst: gone", *["all within their margins"] * 2]


def test_of_equally_cheap_values_the_first_is_chosen() -> None:
    assert chosen_value(choose(ROW, [run(n, forwards=7) for n in (3, 2, 1)])) == 1


def test_otherwise_the_value_whose_worst_figure_is_least_bad() -> None:
    excess = {1: {"gone": 9.0, "kept": 0.0}, 2: {"gone": 2.0, "kept": 3.0}, 3: {"gone": 4.0}}
    tried = choose(ROW, [run(n, excess=own) for n, own in excess.items()])
    assert chosen_value(tried) == 2 and [one.excess for one in tried] == [9.0, 3.0, 4.0]


def test_means_over_runs_decide() -> None:
    runs = [run(1, excess={"gone": 1.9}), run(1, excess={"gone": 0.0}), run(2), run(3)]
    assert chosen_value(choose(ROW, runs)) == 1


def test_a_value_with_a_run_that_collapsed_or_failed_is_out() -> None:
    runs = [run(1), run(1, status="collapsed"), run(2, status="failed", reason="lost"), run(3)]
    tried = choose(ROW, runs)
    assert chosen_value(tried) == 3
    assert [one.reason for one in tried][:2] == ["collapsed", "lost"]
    assert chosen_value(choose(ROW, [run(1, status="failed")])) is None
