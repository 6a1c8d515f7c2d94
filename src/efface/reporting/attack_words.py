"""What the attacks are called, and what came of them, for a reader who is no engineer."""

from __future__ import annotations

from efface.records import Cost, RunRecord
from efface.reporting.recorded_curves import name_way
from efface.reporting.resistance import AttackFinding, Resistance, has_budget
from efface.reporting.sentences import lower_first, upper_first
from efface.reporting.wording import (
    DASH,
    LARGE,
    format_count,
    join_words,
    number_word,
    plural,
    shorten,
)

ATTACKS = {  # name -> title, what is done
    "relearn": (
        "Teaching it again",
        "the model is trained on a few of the forgotten pictures",
    ),
    "benign_finetune": (
        "Training on other things",
        "the model is trained on pictures that were to stay, as any owner might do",
    ),
    "condition_inversion": (
        "Searching for another name",
        "the model stays as it is; an input that recalls the forgotten thing is searched for",
    ),
    "latent_search": (
        "Searching the noise",
        "the model stays as it is; noise that it turns into the forgotten thing is searched for",
    ),
    "denoise_from_noisy": (
        "Starting from a noisy picture",
        "a forgotten picture is hidden under noise, and the model takes the noise off",
    ),
    "neighbour_leak": (
        "Asking under other names",
        "the forgotten thing is looked for in what is drawn for other requests",
    ),
    "membership": (
        "Guessing what it was trained on",
        "the model's errors are compared between forgotten pictures and pictures never seen",
    ),
}


def name_attack(name: str) -> str:
    return ATTACKS.get(name, (shorten(name.replace("_", " ")), ""))[0]


def explain_attack(name: str) -> str:
    return ATTACKS.get(name, ("", ""))[1]


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
    """'40 steps with 8 pictures'."""
    text = write_budget(cost)
    if cost is None or not cost.budget:
        return text
    text += f" {shorten(unit)}"
    if cost.images is not None:
        text += f" with {format_count(cost.images)} {plural(cost.images, 'picture')}"
    return text


def tell_attack(finding: AttackFinding) -> str:
    """What became of one attack, in a sentence or two."""
    if finding.came == "void":
        failed = [shorten(test.subject) for test in finding.result.self_tests if not test.passed]
        return (
            f"Void: the attack failed its self-test on {join_words(failed)}. It did not find what "
            "is known to be there, so that it found nothing here would mean nothing."
        )
    if finding.came == "unclear":
        return "Nothing that can be judged was measured."
    if finding.came == "withstood":
        within = " within the whole budget" if has_budget(finding.result) else ""
        return f"Withstood: less than half of it came back{within}."
    return f"{upper_first(_tell_return(finding))}."


def _tell_return(finding: AttackFinding) -> str:
    """How it came back, beside what a model that never knew it takes, where that is known."""
    way = name_way(finding.line).rpartition(", ")[2]  # pictures are part of the cost
    beside = f" ({way})" if way and not way.startswith("with ") else ""
    if finding.half is None or not has_budget(finding.result):
        return f"at least half of what the untouched model shows was found{beside}"
    unit = finding.result.curve.x_label
    after = "at once" if finding.half.budget == 0 else f"after {write_cost(finding.half, unit)}"
    back = f"half of it came back {after}{beside}"
    never = finding.never_knew
    if never is None:
        return back
    other = f"took {write_cost(never, unit)}"
    if never.budget is None:
        other = "did not show it within the whole budget"
    like = "like something new" if finding.came == "like_new" else "faster than something new"
    return f"{back}, {like}: a model that never knew it {other}"


def tell_resistance(record: RunRecord, found: Resistance) -> str:
    """Whether it comes back, in a sentence or two; that it was not measured where it was not."""
    if found.state == "not_asked":
        return "Nothing was to be forgotten, so nothing could come back."
    comes = f"whether {'they come' if record.request.get('kind') == 'images' else 'it comes'} back"
    if found.state == "unmeasured":
        return f"Not measured: no attack was run, so {comes} is not known."
    if found.state == "stale":
        return (
            f"Not measured: the attacks on file were run on other weights than this run's, so "
            f"{comes} is not known. Run `efface attack` again."
        )
    if found.worst is None:
        return f"Not known: no attack worked well enough to say {comes}."
    said = [_tell_count(found.withstood, len(found.valid))]
    if found.state != "resists":
        title = name_attack(found.worst.result.attack)
        said.append(f"{title}: {_tell_return(found.worst)}.")
        others = [name_attack(f.result.attack) for f in found.returned if f is not found.worst]
        if others:
            said.append(f"It also came back by {join_words([lower_first(o) for o in others])}.")
    void = sum(finding.came == "void" for finding in found.findings)
    if void:
        more = upper_first(number_word(void))
        said.append(f"{more} more {plural(void, 'is', 'are')} void and not counted.")
    return " ".join(said)


def _tell_count(withstood: int, count: int) -> str:
    if count == 1:
        withstands = "withstood" if withstood else "did not withstand"
        return f"It {withstands} the one attack that was tried."
    attacks = f"{number_word(count)} attacks"
    if withstood == count:
        return f"It withstood all {attacks} that were tried."
    if withstood == 0:
        return f"It withstood none of the {attacks} that were tried."
    return f"It withstood {number_word(withstood)} of {attacks}."
