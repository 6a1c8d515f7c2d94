"""Numbers, durations, lists and tables as a reader wants them."""

import csv
import datetime
import io
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SPACE = "\N{NO-BREAK SPACE}"  # between a number and its unit
DASH = "\N{EN DASH}"
NO_INTERVAL = "no interval"
LOSS_GAP = "share of loss"  # the unit whose values below -1 are written as ratios of losses
LARGE, SMALL = 1000, 1e-3  # numbers beyond get separators, or an exponent
LEAST_CHANGE = 1e-5  # a relative difference below this is not written out
LEAST = 5e-4  # a share below this would be rounded to 0 percent
MINUTE, HOUR = 60, 3600
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
PLACES = {"relative": 2, "probability": 2, "cosine": 3}  # of units with a fixed scale
NAME_START, NAME_END = 32, 20  # characters that a long name is shown by
TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
SMALL_NUMBERS = (
    *("no", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def is_share(unit: str) -> bool:
    return unit == "share" or unit.startswith("share of")


def format_number(value: float) -> str:
    """Three significant digits, never in exponents where a reader would stumble."""
    if not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    if abs(value) >= LARGE:
        return f"{value:,.0f}"
    if abs(value) < SMALL:
        return f"{value:.2e}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, digits)}f}"


def format_share(value: float, sign: bool = True) -> str:
    """Write a share in percent; 100 and 0 are written only where they are exact."""
    if not math.isfinite(value):
        return DASH
    if value in (0.0, 1.0):
        text = "100" if value else "0"
    elif 0 < value < LEAST:
        text = "<0.1"
    elif 1 - LEAST <= value < 1:
        text = ">99.9"
    else:
        text = f"{100 * value:.1f}"
    return f"{text}{SPACE}%" if sign else text


def format_change(value: float) -> str:
    """A relative difference in percent, with two digits down to a thousandth of a percent."""
    if not math.isfinite(value) or value == 0:
        return f"0{SPACE}%" if value == 0 else DASH
    if abs(value) < LEAST_CHANGE:
        return f"less than {100 * LEAST_CHANGE:g}{SPACE}%"
    digits = max(0, 1 - math.floor(math.log10(100 * abs(value))))
    return f"{100 * value:,.{digits}f}{SPACE}%"


def format_value(value: float, unit: str) -> str:
    """A gap of losses of -4.86, which nobody takes for a share, is "5.86 times the loss"."""
    if unit == LOSS_GAP and -math.inf < value < -1:
        return f"{format_number(1 - value)} times the loss"
    if is_share(unit):
        return format_share(value)
    if unit in PLACES and math.isfinite(value):
        places = PLACES[unit]
        return f"{round(value, places) + 0.0:.{places}f}"  # never -0.00
    return format_number(value)


def format_interval(low: float, high: float, unit: str) -> str:
    """'97.1 to 98.9 %' or '5.2 to 6.1'; of one value, as of a single image, there is none."""
    return NO_INTERVAL if low == high else format_range(low, high, unit)


def describe_interval(low: float, high: float, unit: str) -> str:
    """An interval that says that it is one."""
    words = format_interval(low, high, unit)
    return words if low == high else f"95 % interval {words}"


def format_range(low: float, high: float, unit: str) -> str:
    """'97.1 to 98.9 %' or '5.2 to 6.1', whatever its ends are."""
    if unit == LOSS_GAP and high < -1:
        return f"{format_number(1 - high)} to {format_value(low, unit)}"
    if is_share(unit) and not (unit == LOSS_GAP and low < -1):
        return f"{format_share(low, sign=False)} to {format_share(high)}"
    return f"{format_value(low, unit)} to {format_value(high, unit)}"


def format_difference(value: float, low: float, high: float, unit: str) -> str:
    """'+97.5 points (+96.1 to +98.9)' of shares, or '-1.2 (-1.5 to -0.9)'."""
    values = (value, low, high)
    if unit == LOSS_GAP and max(map(abs, values)) > 1:
        own, least, most = (f"{v:+.2f}" for v in values)
        return f"{own} times the loss ({least} to {most})"
    if is_share(unit):
        own, least, most = (f"{round(100 * v, 1) + 0.0:+.1f}" for v in values)
        return f"{own}{SPACE}points ({least} to {most})"
    own, least, most = (f"{'+' if v > 0 else ''}{format_value(v, unit)}" for v in values)
    return f"{own} ({least} to {most})"


def format_count(count: int) -> str:
    return f"{count:,}"


def format_duration(seconds: float) -> str:
    if seconds < MINUTE / 6:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 2 * MINUTE:
        return f"{whole}{SPACE}s"
    if 10 * MINUTE <= whole < 2 * HOUR:
        return f"{round(whole / MINUTE)}{SPACE}min"
    if whole < 10 * MINUTE:
        return f"{whole // MINUTE}{SPACE}min {whole % MINUTE:02d}{SPACE}s"
    return f"{whole // HOUR}{SPACE}h {whole % HOUR // MINUTE:02d}{SPACE}min"


def format_date(moment: str) -> str:
    """'2 March 2026' of an ISO 8601 moment; what is none stays as it is."""
    try:
        date = datetime.datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{date.day} {MONTHS[date.month - 1]} {date.year}"


def number_word(count: int) -> str:
    return SMALL_NUMBERS[count] if 0 <= count < len(SMALL_NUMBERS) else format_count(count)


def plural(count: int, one: str, many: str | None = None) -> str:
    return one if count == 1 else many or f"{one}s"


def join_words(words: Sequence[str]) -> str:
    """'4', '4 and 7', '1, 4 and 7'."""
    *first, last = words or [""]
    return f"{', '.join(first)} and {last}" if first else last


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def printable(name: str) -> str:
    """Replace what a reader cannot see: controls, turns of direction, halves of surrogates."""
    hidden = ("Cc", "Cs", "Zl", "Zp")
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if c in TURNING or unicodedata.category(c) in hidden else c
        for c in name
    )


def shorten(name: str) -> str:
    """Leave the middle of a long name out, and what a reader cannot see."""
    name = printable(name)
    if len(name) <= NAME_START + NAME_END + 1:
        return name
    return f"{name[:NAME_START]}…{name[-NAME_END:]}"


def describe_hardware(hardware: dict[str, Any]) -> str:
    """'NVIDIA H200' or '2 CPU cores' from a record's hardware."""
    gpus = Counter(hardware.get("gpus", []))
    if gpus:
        return " + ".join(kind if n == 1 else f"{n} × {kind}" for kind, n in gpus.items())
    cores = hardware.get("cores")
    if cores is not None:
        return f"{cores} CPU {plural(cores, 'core')}"
    return "hardware not recorded"


def as_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """One line per record; a text that a spreadsheet would run as a formula begins with '."""
    file = io.StringIO()
    rows = [{name: _cell(value) for name, value in record.items()} for record in records]
    writer = csv.DictWriter(file, rows[0] if rows else (), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join("" if v is None else str(v) for v in value)
    if not isinstance(value, str):
        return value
    inert = f"'{value}" if value.startswith(FORMULA) else value
    return printable(inert)
