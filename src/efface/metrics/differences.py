"""How far a figure of one model lies from that of another (no torch)."""

import math

from efface.records import Value


def independent_difference(a: Value, b: Value) -> Value:
    """The difference a - b with its 95 % interval, from the two intervals alone.

    The square-and-add method (Zou & Donner, 2008). It holds for independent figures and is
    conservative for figures from the same seeds, which rise and fall together.
    """
    centre = a.value - b.value
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    return Value(value=centre, low=centre - below, high=centre + above)
