"""Numbers as a reader wants them."""

from __future__ import annotations

import math

import pytest

from efface.evaluation.wording import (
    SPACE,
    describe_hardware,
    describe_interval,
    format_date,
    format_difference,
    format_duration,
    format_interval,
    format_number,
    format_range,
    format_share,
    format_value,
    join_words,
    printable,
    shorten,
)


@pytest.mark.parametrize(
    "value, text",
    [
        (1.0, "100"),
        (0.9999, ">99.9"),
        (0.9994, "99.9"),
        (0.988, "98.8"),
        (0.0001, "<0.1"),
        (0.0, "0"),
    ],
)
def test_all_and_none_are_written_only_where_exact(value: float, text: str):
    assert format_share(value) == f"{text}{SPACE}%"


@pytest.mark.parametrize(
    "value, text",
    [(6.123, "6.12"), (61.23, "61.2"), (0.01424, "0.0142"), (12345.6, "12,346"), (-0.5, "-0.500")],
)
def test_three_significant_digits(value: float, text: str):
    assert format_number(value) == text


@pytest.mark.parametrize(
    "value, unit, text",
    [
        (0.5, "share", f"50.0{SPACE}%"),
        (0.04, "relative", "0.04"),
        (-0.001, "relative", "0.00"),
        (0.5, "probability", "0.50"),
        (0.9871, "cosine", "0.987"),
        (0.0261, "loss", "0.0261"),
        (math.nan, "cosine", "–"),
    ],
)
def test_units_choose_the_digits(value: float, unit: str, text: str):
    assert format_value(value, unit) == text


def test_names_show_what_they_hide():
    assert printable("\u202egnp.exe\x00\udcff") == "\ufffdgnp.exe\ufffd\ufffd"
    assert printable("Zoë 王 🙂.png") == "Zoë 王 🙂.png"
    long = shorten("a" * 100 + ".png")
    assert len(long) < 60 and "…" in long and long.endswith(".png")


def test_what_is_not_a_number_is_a_dash():
    assert format_number(math.nan) == format_share(math.inf) == "–"


@pytest.mark.parametrize(
    "seconds, text",
    [
        (3.21, "3.2 s"),
        (84.0, "84 s"),
        (204.3, "3 min 24 s"),
        (1082.0, "18 min"),
        (7260.0, "2 h 01 min"),
    ],
)
def test_durations(seconds: float, text: str):
    assert format_duration(seconds).replace(SPACE, " ") == text


def test_words():
    assert join_words(["1", "4", "7"]) == "1, 4 and 7"
    assert join_words([]) == ""
    assert format_date("2026-03-02T09:14:05+00:00") == "2 March 2026"
    assert format_date("yesterday") == "yesterday"
    assert describe_hardware({"gpus": ["H200", "H200"]}) == "2 × H200"
    assert describe_hardware({"gpus": [], "cores": 2}) == "2 CPU cores"
    assert describe_hardware({}) == "hardware not recorded"


def test_one_value_has_no_interval():
    """As of a single picture: two equal ends would read as if it were known exactly."""
    assert format_interval(0.2, 0.2, "share") == describe_interval(3, 3, "loss") == "no interval"
    assert describe_interval(0.2, 0.3, "loss") == "95 % interval 0.200 to 0.300"
    assert format_range(0.5, 0.5, "loss") == "0.500 to 0.500"


@pytest.mark.parametrize(
    "low, high, text",
    [
        (-0.5, 0.2, f"-50.0 to 20.0{SPACE}%"),
        (-1.0, -0.5, f"-100.0 to -50.0{SPACE}%"),
        (-8.0, -4.86, "5.86 to 9.00 times the loss"),
        (-4.86, 0.102, f"5.86 times the loss to 10.2{SPACE}%"),
        (-math.inf, -4.0, "5.00 to –"),
    ],
)
def test_a_gap_far_below_0_is_written_as_a_ratio_of_losses(low: float, high: float, text: str):
    assert format_range(low, high, "share of loss") == text


def test_differences_of_gaps_follow():
    unit = "share of loss"
    assert format_difference(0.1, 0.05, 0.15, unit) == f"+10.0{SPACE}points (+5.0 to +15.0)"
    assert format_difference(-4.9, -6.0, 0.2, unit) == "-4.90 times the loss (-6.00 to +0.20)"
    assert format_value(-0.999, unit) == f"-99.9{SPACE}%"
    assert format_value(-4.86, "share of samples") == f"-486.0{SPACE}%"
