"""What may stand in one row, and on one plot."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from efface.records import Value
from efface.reporting.comparison import Figure, write_difference, write_figure
from efface.reporting.pareto import pareto_figures
from tests.reporting.conftest import RunMaker, make_evaluation, make_record
from tests.reporting.full_runs import compare_folders, measured, on_terms, seeded
from tests.reporting.image_runs import make_image_evaluation, write_image_run
from tests.specs import spec_of

Triple = tuple[float, float, float]


def test_seeds_become_their_mean_and_their_range(make_run: RunMaker):
    values = [0.97, 0.99, 0.995]
    folders = [make_run(f"s{n}", seeded(n), measured(value, 0.9)) for n, value in enumerate(values)]
    (base,) = compare_folders(*folders)
    (entry,) = base.entries
    assert entry.name == "SFD, seeds 0, 1 and 2" and entry.seeds == (0, 1, 2)
    figure = base.rows[0].cells[0]
    assert figure is not None
    assert figure.value == pytest.approx(1 - sum(values) / 3)
    assert (figure.low, figure.high) == pytest.approx((0.005, 0.03))
    assert figure.spread == pytest.approx(statistics.stdev(values))


def run_seeds(make_run: RunMaker, pairs: list[tuple[float, float]]) -> list[Path]:
    """A run per seed with the FIDs of its result and of the original model beside it."""
    folders = []
    for n, (own, original) in enumerate(pairs):
        evaluation = make_evaluation(fd=(own, own, own))
        evaluation.results[2].baseline = Value(value=original, low=original, high=original)
        folders.append(make_run(f"s{n}", seeded(n), evaluation))
    return folders


@pytest.mark.parametrize("count", [3, 9])
def test_what_all_seeds_have_in_common_is_no_spread_of_their_difference(
    make_run: RunMaker, count: int
):
    """Each result lies 2 above its own original model, whatever the seeds themselves do."""
    (base,) = compare_folders(*run_seeds(make_run, [(2.0 + 9 * n, 9.0 * n) for n in range(count)]))
    (row,) = (row for row in base.rows if row.key.spec.name == "fd")
    (figure,) = row.cells
    assert figure is not None and figure.spread is not None and figure.spread > 4
    assert figure.difference == Value(value=2, low=2, high=2)


def test_differences_of_three_seeds_have_students_interval(make_run: RunMaker):
    """1, 2 and 3 have the mean 2, the error 1 / sqrt(3) and two degrees of freedom: 4.3027."""
    (base,) = compare_folders(*run_seeds(make_run, [(6.0, 5.0), (9.0, 7.0), (5.0, 2.0)]))
    (row,) = (row for row in base.rows if row.key.spec.name == "fd")
    (figure,) = row.cells
    assert figure is not None and figure.difference is not None
    assert figure.difference.value == pytest.approx(2)
    reach = 4.3027 / 3**0.5
    assert figure.difference.low == pytest.approx(2 - reach, abs=1e-4)
    assert figure.difference.high == pytest.approx(2 + reach, abs=1e-4)


def test_one_run_has_no_difference_over_seeds(make_run: RunMaker):
    (base,) = compare_folders(make_run("a", seeded(0)))
    assert [cell.difference for row in base.rows for cell in row.cells if cell] == [None] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"request": {"kind": "class", "labels": [5], "replacement": [9]}},
        {"settings": seeded(1, method={"name": "sfd", "mixture": 0.7}).settings},
        {"start": {"weights": {"a": "b"}}},
        {"settings": seeded(0).settings},  # the same seed again is no second draw
    ],
)
def test_what_differs_in_more_than_its_seed_is_an_entry_of_its_own(make_run: RunMaker, change):
    record = seeded(1).model_copy(update=change)
    (base,) = compare_folders(make_run("a", seeded(0)), make_run("b", record))
    assert [len(entry.runs) for entry in base.entries] == [1, 1]
    figure = base.rows[0].cells[0]
    assert figure is not None and figure.spread is None and figure.low == 0.002


def test_runs_on_other_weights_are_never_in_one_row(make_run: RunMaker):
    other = make_record(model=make_record().model | {"weights": {"a": "00" * 32}})
    bases = compare_folders(make_run("a"), make_run("b", other), make_run("c", seeded(7)))
    assert [[e.names for e in base.entries] for base in bases] == [
        [("a", "c")], [("b",)],
    ]  # fmt: skip
    assert [entry.number for base in bases for entry in base.entries] == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"extractor": {"name": "judge", "sha256": "ab" * 32}},
        {"extractor": {"name": "judge", "sha256": "ab" * 31 + "cd"}},
        {"samples": 1000},
        {"spec": spec_of("fd", unit="percent")},
    ],
)
def test_figures_that_were_seen_otherwise_are_never_in_one_row(make_run: RunMaker, change):
    first, second = make_evaluation(), make_evaluation()
    first.results[2].extractor = {"name": "judge", "sha256": "ab" * 31 + "ef"}
    second.results[2].extractor = first.results[2].extractor
    second.results[2] = second.results[2].model_copy(update=change)
    record = make_record(settings={"method": {"name": "siss"}})
    (base,) = compare_folders(make_run("a", evaluation=first), make_run("b", record, second))
    rows = [row for row in base.rows if row.key.spec.name == "fd"]
    assert [[cell is not None for cell in row.cells] for row in rows] == [
        [True, False], [False, True],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "terms",
    [
        {"original_model": "25 DDIM steps, guidance 1"},
        {"forgotten_labels": "4"},
        {"real_images": "other"},
    ],
)
def test_figures_measured_on_other_terms_are_never_in_one_row(make_run: RunMaker, terms):
    own = {"original_model": "50 DDIM steps, guidance 1", "forgotten_labels": "3"}
    runs = [
        make_run("a", evaluation=on_terms(1.0, **own)),
        make_run("b", evaluation=on_terms(2.0, **(own | terms))),
        make_run("c", seeded(1), on_terms(3.0, **own)),
    ]
    (base,) = compare_folders(*runs)
    rows = [row for row in base.rows if row.key.spec.name == "fd"]
    shown = [[None if cell is None else cell.values for cell in row.cells] for row in rows]
    assert shown == [[(1.0, 3.0), None], [None, (2.0,)]]
    changed = next(iter(terms)).replace("_", " ")
    assert f"{changed}: {next(iter(terms.values()))}" in rows[1].apart
    for name in own.keys() - terms.keys():
        assert name.replace("_", " ") not in rows[0].apart + rows[1].apart
    for figure in pareto_figures(base):
        assert figure.forget.key.terms == figure.retain.key.terms


def test_rows_of_one_kind_of_terms_say_nothing_of_them(make_run: RunMaker):
    runs = [make_run(n, evaluation=on_terms(1.0, copy_distance="0.2")) for n in "ab"]
    (base,) = compare_folders(*runs)
    assert {row.apart for row in base.rows} == {""}


def test_requests_of_another_kind_have_rows_of_their_own(make_run: RunMaker, tmp_path: Path):
    images = write_image_run(tmp_path / "images", evaluation=make_image_evaluation())
    (base,) = compare_folders(make_run("class"), images)
    assert {(row.key.request, row.key.spec.name) for row in base.rows} >= {
        ("class", "fd"),
        ("images", "fd"),
    }
    assert all(sum(cell is not None for cell in row.cells) == 1 for row in base.rows)
    assert pareto_figures(base) == []


def test_one_run_has_its_interval_and_several_seeds_their_range():
    one = Figure(value=0.5, low=0.4, high=0.6, values=(0.5,))
    assert write_figure(one, "share") == ("50.0\u00a0%", "40.0 to 60.0\u00a0%")
    seeds = Figure(value=2.0, low=1.0, high=3.0, values=(1.0, 3.0))
    assert write_figure(seeds, "x") == ("2.00", "1.00 to 3.00, s.d. 1.41 over 2 seeds")
    assert write_difference(Value(value=1, low=0, high=2), "x") == "+1.00 (0 to +2.00)"
    assert write_figure(None, "x") == ("–", "")
