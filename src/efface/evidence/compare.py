"""A recorded evaluation against the same evaluation made again: every number, every word."""

import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from efface.evaluation.wording import printable
from efface.records import Curve, Evaluation, Result

Place = tuple[str, ...]
Key = tuple[str | int | None, ...]
Parts = dict[Key, "Part"]

ENDS = ("value", "low", "high")
COUNTED = ("share", "share of samples")  # units in which one sample is 1 / samples
LEVELS, PIXELS = 8, 1e-3  # of 255, and the share of pixels that may be further off
COUNTS = ("copies", "copies_baseline")  # of samples
SAMPLES, VALUE, END, LEAST = 1.5, 0.02, 0.05, 1e-6
UNMEASURED = {"schema_version", "key", "retrained"}  # what names the evaluation and its files
MODELS = {"retrained", "distilled"}
CHOOSING = frozenset({"extractor", "reference"})  # without which no guidance is chosen
SHOWN = 100  # characters of a name


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at, and what was found."""

    subject: str
    good: bool
    text: str
    looked: bool = True  # False: it could not be, and nothing is said of it


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All that was found; `sha256` is that of the pack itself."""

    sha256: str
    checks: tuple[Check, ...]

    @property
    def good(self) -> bool:
        return all(check.good for check in self.checks)

    @property
    def differences(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.good)


def agrees(subject: str, text: str) -> Check:
    return _check(subject, text, good=True)


def differs(subject: str, text: str) -> Check:
    return _check(subject, text, good=False)


def not_checked(subject: str, text: str) -> Check:
    return _check(subject, text, good=True, looked=False)


def _check(subject: str, text: str, good: bool, looked: bool = True) -> Check:
    """Names come from the pack: nothing in them may steer a terminal or flood it."""
    shown, words = printable(subject[:SHOWN]), printable(text[: 10 * SHOWN])
    return Check(subject=shown, good=good, text=words, looked=looked)


@dataclass(frozen=True, kw_only=True)
class Again:
    """An evaluation made again, and why networks and models were not here, by their names."""

    evaluation: Evaluation
    missing: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A figure, a curve, an image or a table: what one line of a verification is about."""

    name: str
    values: Mapping[Place, Any]
    network: str | None = None  # SHA-256 of what it was measured with, and in which role
    samples: Mapping[str, int] | int | None = None  # behind shares; of a table, by row


def tolerance(part: Part, path: Place) -> float:
    """How far a recorded number may lie from that of the `part` measured again.

    On one machine both agree to rounding. Other kernels round otherwise, in two ways. A share of
    samples moves in steps: a sample at a threshold falls to the other side. So one sample may
    differ (1.5 / samples, or 1.5 of a count). Anything else moves smoothly: with other kernels of
    one machine values moved by up to 0.5 %, ends of intervals, which are resampled, by up to 2.1 %
    (zoo:digits, 600 samples). Four and two times as much is allowed, of the largest of a value and
    its interval, so that a value near zero is held to its own scale. All scales are those of the
    new measurement: nothing in a pack widens a tolerance. What is no measurement (Spec, seeds,
    numbers of samples, the guidance) has none.
    """
    number = part.values[path]
    if not path or path[0] == "spec" or (isinstance(number, int) and path[-1] not in COUNTS):
        return 0.0
    if isinstance(number, int):
        return SAMPLES
    if isinstance(part.samples, int) and path[-1] in ENDS:
        return SAMPLES / part.samples
    if isinstance(part.samples, Mapping) and path[0] == "shares":
        return SAMPLES / part.samples[path[2]]
    places = [(*path[:-1], end) for end in ENDS if path[-1] in ENDS]
    if path[0] == "difference":  # of two figures: as far off as they are
        places += [("value",), ("baseline", "value")]
    beside = [part.values.get(place, 0.0) for place in places]
    scale = max(abs(v) for v in (number, *beside) if math.isfinite(v))
    return max((END if path[-1] in ENDS[1:] else VALUE) * scale, LEAST)


def compare(recorded: Evaluation, again: Again, metric: str | None = None) -> list[Check]:
    """What differs, what agrees, and what could not be measured again, by name.

    `metric` leaves all but the figures of that name out. A pure function of its arguments.
    """
    names, others = _network_names(recorded), _network_names(again.evaluation)
    then = parts_of(recorded)
    now = parts_of(again.evaluation, {name: names.get(d, name) for d, name in others.items()})
    networks = {None, *(part.network for part in now.values())} - _blinded(recorded, again)
    if metric is not None:
        then, now = ({k: p for k, p in parts.items() if k[1] == metric} for parts in (then, now))
    checks: list[Check] = []
    for key, part in then.items():
        if key in now and part.name == "guidance" and again.missing.keys() & CHOOSING:
            checks.append(not_checked(part.name, "not chosen again without the real images"))
        elif key in now:
            checks += _compare_part(part, now[key], again.missing)
        elif part.network not in networks and again.missing.keys() - MODELS:
            reasons = " ".join(again.missing.values())
            checks.append(not_checked(part.name, f"not checked: {reasons}"))
        else:
            checks.append(differs(part.name, "recorded, but not a figure of such a run"))
    for key, part in now.items():
        if key not in then:
            checks.append(differs(part.name, "measured again, but not recorded"))
    if [key for key in then if key in now] != [key for key in now if key in then]:
        checks.append(differs("figures", "recorded in another order than they are measured in"))
    return checks


def _blinded(recorded: Evaluation, again: Again) -> set[str | None]:
    """The classifier, where it compared with real images that were not here again."""
    then, now = (evaluation.judge or {} for evaluation in (recorded, again.evaluation))
    lost = then.get("reference_sha256") is not None and now.get("reference_sha256") is None
    return {str(then.get("sha256"))} if lost and again.missing.keys() & CHOOSING else set()


def compare_images(name: str, recorded: bytes, again: Path) -> Check:
    """A sheet of samples against the one that was generated again, pixel by pixel."""
    if not again.exists():
        return not_checked(name, "not generated again")
    try:
        sheets = [Image.open(io.BytesIO(content)) for content in (recorded, again.read_bytes())]
        if sheets[0].size != sheets[1].size:
            return differs(name, f"{sheets[0].size} pixels, and {sheets[1].size} generated again")
        pixels = [np.asarray(sheet.convert("RGB"), np.int16) for sheet in sheets]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return differs(name, f"no sound image: {error}")
    other = float((np.abs(pixels[0] - pixels[1]).max(-1) > LEVELS).mean())
    if other > PIXELS:
        return differs(name, f"{other:.1%} of the pixels are others than those generated again")
    return agrees(name, "shows what is generated again")


def parts_of(evaluation: Evaluation, names: Mapping[str, str] = MappingProxyType({})) -> Parts:
    """All that an evaluation says, by what identifies it in another one.

    `names` are those that its networks go by there: of a copy of a network content counts alone.
    """
    parts: Parts = {}
    counts: Counter[Key] = Counter()
    for kind, part in (*_figures(evaluation), *_tables(evaluation)):
        counts[kind] += 1  # a figure that stands twice is compared twice
        values = {path: _renamed(value, names) for path, value in part.values.items()}
        if values:
            parts[*kind, counts[kind]] = replace(part, values=values)
    return parts


def _figures(evaluation: Evaluation) -> Iterator[tuple[Key, Part]]:
    """Figures and curves, each by its metric and by the content of the network behind it."""
    items = (*evaluation.results, *evaluation.curves)
    names = Counter(_metric(item) for item in items)
    fewest = min((result.samples for result in evaluation.results), default=None)
    for item in items:
        name, extractor = _metric(item), item.extractor or {}
        sought = extractor.get("name", "").partition(", ")[2]  # labels that a detector looked for
        kind = sought if extractor.get("kind") == "detector" else None
        samples = fewest
        if isinstance(item, Result):
            samples = item.samples if item.unit in COUNTED else None
        part = Part(
            name=name if names[name] == 1 else f"{name} ({extractor.get('name')})",
            values=_values(item.model_dump(mode="json")),
            network=" ".join(extractor[k] for k in ("sha256", "kind") if k in extractor) or None,
            samples=samples,
        )
        yield (type(item).__name__, name, part.network, kind), part


def _tables(evaluation: Evaluation) -> Iterator[tuple[Key, Part]]:
    """What is not a figure: images, labels seen, classifier, change and terms."""
    content = evaluation.model_dump(mode="json", exclude={"results", "curves", *UNMEASURED})
    for image in content.pop("images"):
        part = Part(name=f"image {image['name']}", values=_values(image))
        yield ("image", part.name), part
    judge = (evaluation.judge or {}).get("sha256")
    rows = [] if evaluation.labels_seen is None else evaluation.labels_seen.samples
    for name, value in content.items():
        part = Part(
            name=name,
            values=_values(value),
            network=str(judge) if judge and name in ("judge", "labels_seen") else None,
            samples={str(row): count for row, count in enumerate(rows)},
        )
        yield ("table", name), part


def _metric(item: Result | Curve) -> str:
    return item.metric if isinstance(item, Result) else item.name


def _compare_part(recorded: Part, again: Part, missing: Mapping[str, str]) -> Iterator[Check]:
    """One line on what agrees or differs, and one for each model that was not here."""
    places = recorded.values.keys() | again.values.keys()
    absent = {place: why for place in places if (why := _absence(recorded, again, place, missing))}
    wrong = [place for place in differing(recorded, again) if place not in absent]
    if wrong:
        told = [_tell(place, recorded, again) for place in wrong]
        yield differs(recorded.name, "; ".join(told))
    elif len(places) > len(absent):
        value = again.values.get(("value",))
        start = "" if value is None else f"{_shown(value)} measured again; "
        agreed = len(places) - len(absent)
        yield agrees(recorded.name, f"{start}all {agreed} entries agree with the record")
    for name in sorted(set(absent.values())):
        reason = missing.get(name) or " ".join(missing.values())
        yield not_checked(f"{recorded.name}: {name}", f"not checked: {reason}")


def differing(recorded: Part, again: Part) -> list[Place]:
    """Places whose values do not agree, each by itself."""
    places = sorted(recorded.values.keys() | again.values.keys())
    then, now = recorded.values, again.values
    return [place for place in places if not _agree(again, place, then.get(place), now.get(place))]


def _absence(recorded: Part, again: Part, place: Place, missing: Mapping[str, str]) -> str | None:
    """The model or the term that a recorded value rests on, where that was not here."""
    if place in again.values:
        return None
    if recorded.name in ("terms", "judge") and missing.keys() - MODELS:
        return place[0]
    return next((name for name in place if name in missing and name in MODELS), None)


def _tell(place: Place, recorded: Part, again: Part) -> str:
    then, now = (_shown(part.values.get(place)) for part in (recorded, again))
    return f"{'.'.join(place)}: recorded {then}, measured again {now}"


def _agree(again: Part, path: Place, then: Any, now: Any) -> bool:
    if type(then) not in (int, float) or type(now) not in (int, float):
        return then == now
    if math.isfinite(then) and math.isfinite(now):
        return abs(then - now) <= tolerance(again, path)
    return repr(then) == repr(now)  # no number is the same as no number here


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)[:SHOWN]


def _values(value: Any, path: Place = ()) -> dict[Place, Any]:
    """What stands in JSON, by its place; null stands nowhere."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        parts = [_values(part, (*path, str(name))) for name, part in inner]
        return {place: leaf for part in parts for place, leaf in part.items()}
    return {} if value is None else {path: value}


def _network_names(evaluation: Evaluation) -> dict[str | None, str]:
    """By content; of a detector without the labels that it looked for."""
    names: dict[str | None, str] = {}
    for item in (*evaluation.results, *evaluation.curves):
        extractor = item.extractor or {}
        name = extractor.get("name", "")
        is_detector = extractor.get("kind") == "detector"
        names[extractor.get("sha256")] = name.partition(", ")[0] if is_detector else name
    return names


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    for own, other in names.items() if isinstance(value, str) else ():
        value = value.replace(own, other) if own else value
    return value
