"""What came of attacks, in words for every reader."""

from efface.evaluation.wording import (
    DASH,
    format_count,
    join_words,
    number_word,
    plural,
    shorten,
    upper_first,
)
from efface.records import AttackResult, Cost, Speed
from efface.reporting.recorded_curves import name_model, name_way
from efface.reporting.resistance import AttackFinding, Came, Resistance, has_budget

MARKS: dict[Came, tuple[str, str]] = {
    "withstood": ("good", "did not come back"),
    "like_new": ("warn", "comes back like something new"),
    "undecided": ("warn", "comes back, perhaps faster than something new"),
    "came_back": ("warn", "comes back"),
    "faster": ("bad", "comes back faster than something new"),
    "failed_control": ("warn", "inconclusive"),
    "unclear": ("warn", "not measured"),
}
OUTCOMES: dict[Came, str] = {  # on the terminal
    "withstood": "withstood",
    "like_new": "recovered, like something new",
    "undecided": "recovered, perhaps faster than something new",
    "came_back": "recovered",
    "faster": "recovered, faster than something new",
    "failed_control": "inconclusive",
    "unclear": "not measured",
}
TEN = 10  # from here on budgets are whole
HOW = "Attack this run with `efface attack`."


def read_note(result: AttackResult, note: str) -> str:
    """A note that begins with a line of the curve begins with what that line is."""
    line, colon, rest = note.partition(": ")
    return f"{name_model(line)}: {rest}" if colon and line in result.curve.lines else note


def write_budget(cost: Cost | None) -> str:
    """'40' or '2.9', as it lies between points of a curve; a dash where it was not measured."""
    if cost is None:
        return DASH
    if cost.budget is None:
        return "not reached"
    if cost.budget == 0:
        return "at once"
    return f"{cost.budget:.2g}" if cost.budget < TEN else format_count(round(cost.budget))


WITH_IT = ("result", "baseline", "weak")  # models that know what is sought
ATTACK_COLUMNS = ("attack", "back", "this model", "original", "without it", "outcome")


def name_attack(result: AttackResult) -> str:
    """'relearning', or 'relearning (concept 2)'."""
    return f"{result.attack} ({shorten(result.called)})" if result.called else result.attack


def attack_row(finding: AttackFinding) -> tuple[str, ...]:
    """One attack in a row of a table: the budgets at which half and most of it came back."""
    result = finding.result
    same = finding.line.replace("result", "retrained", 1)
    without = [line for line in result.costs if line.split("_")[0] not in WITH_IT]
    lines = (finding.line, "baseline", *([same] if same in without else without[:1]))
    budgets = ["\n".join(map(write_budget, result.costs.get(line, []))) for line in lines]
    budgets += [DASH] * (3 - len(budgets))
    shares = "\n".join(f"{cost.share:.0%}" for cost in result.costs.get(finding.line, []))
    return (name_attack(result), shares, *budgets, OUTCOMES[finding.came])


def tell_attack(finding: AttackFinding) -> str:
    """What became of one attack, in a sentence or two."""
    if finding.came == "failed_control":
        failed = [shorten(test.subject) for test in finding.result.self_tests if not test.passed]
        return (
            f"Inconclusive: the attack failed its positive control on {join_words(failed)}. It did "
            "not find what is known to be there, so that finding nothing here means nothing."
        )
    if finding.came == "unclear":
        return "Nothing that can be judged was measured."
    if finding.came == "withstood":
        within = " within the whole budget" if has_budget(finding.result) else ""
        return f"Withstood: less than half of it came back{within}."
    return f"{upper_first(_tell_return(finding))}."


def _tell_speed(speed: Speed) -> str:
    """'Over 6 seeds it took 0.92 times the budget of a retrained model (0.71 to 1.2).'"""
    count = len(speed.seeds)
    over = f"Over {count} {plural(count, 'seed')} it took"
    ends = (
        f"{speed.low:.2g} or more" if speed.high is None else f"{speed.low:.2g} to {speed.high:.2g}"
    )
    if speed.ratio is None:
        return f"{over} {ends} times the budget of a retrained model."
    return f"{over} {speed.ratio:.2g} times the budget of a retrained model ({ends})."


def tell_resistance(found: Resistance, short: bool = False) -> str:
    """Whether it comes back, in a sentence or more; `short` names the worst attack alone."""
    if found.stale or found.answer == "not_measured":
        said = ["Whether it comes back was not measured"]
        said += ["the attacks on file were on other weights"] if found.stale else []
        return f"{': '.join(said)}." if short else f"{': '.join(said)}. {HOW}"
    if found.worst is None:
        return "Whether it comes back is not known: every attack failed its positive control."
    count, failed = len(found.valid), found.failed
    said = [_tell_worst(found, found.worst)]
    speed = found.worst.result.speed
    said += [] if speed is None else [_tell_speed(speed)]
    others = [shorten(f.result.title) for f in found.returned if f is not found.worst]
    if found.returned and count > 1:
        said.append(f"{found.withstood} of {count} attacks were withstood.")
    if others:
        said.append(f"Also back: {join_words(others)}.")
    if failed:
        are = plural(failed, "is", "are")
        said.append(f"{upper_first(number_word(failed))} more {are} inconclusive and not counted.")
    return said[0] if short else " ".join(said)


def _tell_worst(found: Resistance, worst: AttackFinding) -> str:
    """The cheapest attack that succeeded."""
    if worst.came == "withstood":
        count = len(found.valid)
        return f"It did not come back in {number_word(count)} {plural(count, 'attack')}."
    title = shorten(worst.result.title)
    if found.answer == "yes":
        title = f"It comes back no faster than in a retrained model: {title.lower()}"
    return f"{title} {_tell_return(worst)}."


def _tell_return(finding: AttackFinding) -> str:
    """For which budget it came back and which way, beside what a retrained model takes."""
    way = name_way(finding.line).rpartition(", ")[2]  # images stand in the table of costs
    way = f" ({way})" if way and not way.startswith("with ") else ""
    if finding.half is None or not has_budget(finding.result):
        return f"brings at least half of it back{way}"
    budget, unit = write_budget(finding.half), shorten(finding.result.curve.x_label)
    took = f"in {budget} {unit}" if finding.half.budget else budget
    retrained = finding.retrained
    beside = "" if retrained is None else f" (retrained model: {write_budget(retrained)})"
    doubt = "; whether that is faster is inconclusive" if finding.came == "undecided" else ""
    return f"brings half of it back {took}{way}{beside}{doubt}"
