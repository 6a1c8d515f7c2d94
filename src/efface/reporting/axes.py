"""Axes, ticks and frames of inline SVG. Colours are CSS classes of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from efface.evaluation.wording import SPACE

PLAIN = (1e-3, 1e5)  # ticks outside this are written with exponents


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Maps values to a coordinate, and says where its ticks are; `low` may be the greater end."""

    low: float
    high: float
    logarithmic: bool
    start: float
    end: float
    percent: bool = False  # whether its values are shares

    def at(self, value: float) -> float:
        low, high, value = (self._scaled(v) for v in (self.low, self.high, value))
        return round(self.start + (self.end - self.start) * (value - low) / (high - low), 2)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def ticks(self) -> list[float]:
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            stride = max(1, math.ceil((last - first) / 4))
            return [10.0**power for power in range(first, last + 1, stride)]
        low, high = sorted((self.low, self.high))
        step = nice((high - low) / 4)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        ticks = [n * step for n in range(first, last + 1)]
        return [tick for tick in ticks if 0 <= tick <= 1] if self.percent else ticks

    def label(self, tick: float) -> str:
        return f"{100 * tick:.3g}{SPACE}%" if self.percent else write_tick(tick)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The size of a figure and the margins that its ticks and titles take."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    def across(
        self, low: float, high: float, logarithmic: bool = False, percent: bool = False
    ) -> Axis:
        return Axis(
            low=low, high=high, logarithmic=logarithmic, percent=percent,
            start=self.left, end=self.width - self.right,
        )  # fmt: skip

    def up(self, low: float, high: float, logarithmic: bool = False, percent: bool = False) -> Axis:
        return Axis(
            low=low, high=high, logarithmic=logarithmic, percent=percent,
            start=self.height - self.bottom, end=self.top,
        )  # fmt: skip

    def rules(self, x: Axis, y: Axis, under: float = 6) -> Markup:
        """Horizontal rules with their values, and the values of `x` so far above the bottom."""
        parts = []
        for tick in y.ticks():
            parts.append(self.horizontal("rule", y.at(tick)))
            parts.append(write("tick end", self.left - 6, y.at(tick) + 3.5, y.label(tick)))
        for tick in x.ticks():
            at, edge = x.at(tick), self.width - self.right
            kind, at = ("middle", at) if at < edge - 14 else ("end", edge)
            parts.append(write(f"tick {kind}", at, self.height - under, x.label(tick)))
        return Markup("").join(parts)

    def horizontal(self, kind: str, y: float) -> Markup:
        return draw_line(kind, (self.left, self.width - self.right), (y, y))


def nice(value: float) -> float:
    """Round up to 1, 2, 5 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= value * (1 - 1e-9))


def widen(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """Ends of an axis around all values: at 0 where that is not far, with room at both ends."""
    low, high = min(values), max(values)
    if logarithmic:
        low, high = low / 1.3, high * 1.3
        if math.floor(math.log10(high)) - math.ceil(math.log10(low)) < 1:  # two ticks at least
            low = 10.0 ** math.floor(math.log10(low))
        return low, high
    low = min(low, 0.0) if low < 0 or low < 0.5 * high else low
    spread = (high - low) or abs(high) or 1.0
    return (low - 0.06 * spread if low else low), high + 0.06 * spread


def write_tick(value: float) -> str:
    if value and not PLAIN[0] <= abs(value) < PLAIN[1]:
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:,.6g}" if abs(value) >= 1 else f"{value:.3g}"


def write(kind: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
        kind, round(x, 2), round(y, 2), text
    )


def draw_line(kind: str, x: tuple[float, float], y: tuple[float, float]) -> Markup:
    line = Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    return line.format(kind, *x, *y)


def draw_svg(kind: str, width: float, height: float, label: str, marks: Markup) -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}</svg>'
    ).format(kind, width, height, label, label, marks)
