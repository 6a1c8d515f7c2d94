"""What came of attacks, in words for every reader."""

from __future__ import annotations

from efface.evaluation.wording import (
    DASH,
    LARGE,
    format_count,
    join_words,
    number_word,
    plural,
    shorten,
    upper_first,
)
from efface.records import AttackResult, Cost, Speed
from efface.reporting.recorded_curves import name_model, name_way
from efface.reporting.resistance import AttackFinding, Resistance, has_budget

SPEEDS = {"like_new": "about as fast as", "faster": "faster than"}


def read_note(result: AttackResult, note: str) -> str:
    """A note that begins with a line of the curve begins with what that line is."""
    line, colon, rest = note.partition(": ")
    return f"{name_model(line)}: {rest}" if colon and line in result.curve.lines else note


def write_budget(cost: Cost | None) -> str:
    """'40', or that it was not reached; a dash where it was not measured."""
    if cost is None:
        return DASH
    if cost.budget is None:
        return "not reached"
    if cost.budget == 0:
        return "at once"
    return format_count(round(cost.budget)) if cost.budget >= LARGE else f"{cost.budget:.3g}"


def write_cost(cost: Cost | None, unit: str) -> str:
    """'40 steps with 8 images'."""
    text = write_budget(cost)
    if cost is None or not cost.budget:
        return text
    text += f" {shorten(unit)}"
    if cost.images is not None:
        text += f" with {format_count(cost.images)} {plural(cost.images, 'image')}"
    return text


def tell_attack(finding: AttackFinding) -> str:
    """What became of one attack, in a sentence or two."""
    if finding.came == "failed_control":
        failed = [shorten(test.subject) for test in finding.result.self_tests if not test.passed]
        return (
            f"Inconclusive: the attack failed its positive control on {join_words(failed)}. It did "
            "not find what is known to be there, so that finding nothing here means nothing."
        )
    if finding.came == "context":
        return "An evaluation and no attack: it does not count for whether it comes back."
    if finding.came == "unclear":
        return "Nothing that can be judged was measured."
    if finding.came == "withstood":
        within = " within the whole budget" if has_budget(finding.result) else ""
        return f"Withstood: less than half of it came back{within}."
    return f"{upper_first(_tell_return(finding))}."


def _tell_return(finding: AttackFinding) -> str:
    """How it came back, beside what a retrained model takes, where that is known."""
    how = _way(finding)
    if finding.half is None or not has_budget(finding.result):
        return f"at least half of what the original model shows was found{how}"
    unit = finding.result.curve.x_label
    after = "at once" if finding.half.budget == 0 else f"after {write_cost(finding.half, unit)}"
    back = f"half of it came back {after}{how}"
    speed = finding.result.speed
    if speed is None:
        return back
    beside = f"a retrained model ({write_cost(finding.retrained, unit)}; {_tell_ratio(speed)})"
    if finding.came == "undecided":
        return f"{back}; whether that is faster than in {beside} is inconclusive"
    return f"{back}, {SPEEDS[finding.came]} in {beside}"


def _tell_ratio(speed: Speed) -> str:
    """'0.92 times its budget over 6 seeds, 0.71 to 1.2'."""
    count = len(speed.seeds)
    over = f"over {count} {plural(count, 'seed')}"
    ends = (
        f"{speed.low:.2g} or more" if speed.high is None else f"{speed.low:.2g} to {speed.high:.2g}"
    )
    if speed.ratio is None:
        return f"{ends} times its budget {over}"
    return f"{speed.ratio:.2g} times its budget {over}, {ends}"


def tell_resistance(found: Resistance, short: bool = False) -> str:
    """Whether it comes back, in a sentence or more; `short` names the worst attack alone."""
    if found.stale:
        return "Whether it comes back was not measured: the attacks on file were on other weights."
    if found.answer == "not_measured":
        return "Whether it comes back was not measured."
    if found.worst is None:
        return "Whether it comes back is not known: every attack failed its positive control."
    said = [_tell_worst(found, found.worst)]
    if short:
        return said[0]
    others = [shorten(f.result.title) for f in found.returned if f is not found.worst]
    if found.returned and len(found.valid) > 1:
        count = len(found.valid)
        were = plural(count, "attack was", "attacks were")
        said.append(f"{found.withstood} of {count} {were} withstood.")
    if others:
        said.append(f"Also back: {join_words(others)}.")
    if found.failed:
        more = upper_first(number_word(found.failed))
        are = plural(found.failed, "is", "are")
        said.append(f"{more} more {are} inconclusive and not counted.")
    return " ".join(said)


def _tell_worst(found: Resistance, worst: AttackFinding) -> str:
    """The cheapest attack that succeeded, beside what it takes in a retrained model."""
    if worst.came == "withstood":
        count = len(found.valid)
        return f"It did not come back in {number_word(count)} {plural(count, 'attack')}."
    title = shorten(worst.result.title)
    if worst.half is None or not has_budget(worst.result):
        return f"{title} brings at least half of it back{_way(worst)}."
    unit = shorten(worst.result.curve.x_label)
    took = "at once" if not worst.half.budget else f"in {write_budget(worst.half)} {unit}"
    retrained = worst.retrained
    beside = "" if retrained is None else f" (retrained model: {write_budget(retrained)})"
    said = f"brings half of it back {took}{_way(worst)}{beside}"
    if worst.came == "undecided":
        return f"{title} {said}; whether that is faster is inconclusive."
    if found.answer == "yes":
        return f"It comes back no faster than in a retrained model: {title.lower()} {said}."
    return f"{title} {said}."


def _way(finding: AttackFinding) -> str:
    way = name_way(finding.line).rpartition(", ")[2]  # images are part of the cost
    return f" ({way})" if way and not way.startswith("with ") else ""
