"""How every figure was measured: what the links beside the numbers lead to."""

from __future__ import annotations

from dataclasses import dataclass

from efface.records import AttackResult, Attacks, Curve, Evaluation, Result
from efface.reporting.attack_words import name_attack
from efface.reporting.facts import Facts, flatten
from efface.reporting.glossary import explain, name_curve
from efface.reporting.recorded_curves import name_model
from efface.reporting.run_folder import Run
from efface.reporting.wording import format_change, format_count, format_duration

GUARD_SAMPLES, GUARD_SEED = 64, 6_000_000  # of efface.evaluation.guards, which imports torch
SAME, UNLIKE = 0.01, 0.5
CHANGES = {
    "weights": "weights changed by",
    "samples": "samples changed by, of their spread",
    "retained_distance": "energy distance to the untouched model's samples, of their spread",
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One figure's protocol, with the anchor that leads to it."""

    anchor: str
    title: str
    facts: Facts


def figure_anchor(section: str, number: int) -> str:
    return f"{section}-how-{number}"


def curve_anchor(section: str, number: int) -> str:
    return f"{section}-how-curve-{number}"


def attack_anchor(section: str, number: int) -> str:
    return f"{section}-how-attack-{number}"


def change_anchor(section: str) -> str:
    return f"{section}-how-change"


def labels_anchor(section: str) -> str:
    return f"{section}-how-labels"


def pictures_anchor(section: str) -> str:
    return f"{section}-how-pictures"


def protocols(section: str, run: Run) -> list[Protocol]:
    """One entry per result, curve, matrix, attack and grid of pictures, and one for the judge."""
    evaluation, kind = run.evaluation, run.record.request.get("kind")
    entries = [
        (figure_anchor(section, n), explain(result.metric, kind).label, _about_result(result))
        for n, result in enumerate(evaluation.results)
    ]
    for n, curve in enumerate(evaluation.curves):
        entries.append((curve_anchor(section, n), name_curve(curve.name), _about_curve(curve)))
    if evaluation.labels_seen is not None:
        matrix = evaluation.labels_seen
        drawn = f"{format_count(sum(matrix.samples))} over all labels"
        facts = [("samples", drawn), ("protocol", matrix.protocol)]
        entries.append((labels_anchor(section), "What was seen under each label", facts))
    if run.attacks is not None:
        for n, result in enumerate(run.attacks.results):
            title = f"Attack: {name_attack(result.attack)}"
            facts = _about_attack(result, run.attacks)
            entries.append((attack_anchor(section, n), title, facts))
    if run.pictures is not None:
        grid = run.pictures.grid
        facts = [("before", grid.before), ("after", grid.after), ("noise", "the same for both")]
        entries.append((pictures_anchor(section), "Pictures before and after", facts))
    entries += _about_models(section, evaluation)
    return [Protocol(anchor=a, title=title, facts=facts) for a, title, facts in entries]


def _about_result(result: Result) -> Facts:
    seeds = "not recorded"
    if result.seeds:
        seeds = f"{result.seeds[0]} to {result.seeds[-1]}"
    return [
        ("unit", result.unit),
        ("samples", format_count(result.samples)),
        ("seeds", seeds),
        ("protocol", result.protocol),
        *flatten(result.extractor or {}, "seen with"),
    ]


def _about_curve(curve: Curve) -> Facts:
    models = ", ".join(name_model(name) for name in curve.lines)
    return [
        ("models", models),
        ("axes", f"{curve.y_label} against {curve.x_label}"),
        ("protocol", curve.protocol),
        *flatten(curve.extractor or {}, "seen with"),
    ]


def _about_attack(result: AttackResult, attacks: Attacks) -> Facts:
    return [
        ("name", result.attack),
        *_about_curve(result.curve),
        ("seeds", ", ".join(map(str, result.seeds)) or "not recorded"),
        ("took", format_duration(result.seconds)),
        *flatten(result.settings, "setting"),
        *flatten(attacks.output, "weights attacked"),
        *flatten(attacks.judge or {}, "judge"),
    ]


def _about_models(section: str, evaluation: Evaluation) -> list[tuple[str, str, Facts]]:
    """The judge, how far the model is from the untouched one, and what was measured with."""
    entries = []
    if evaluation.judge:
        entries.append((f"{section}-how-judge", "The judge", flatten(evaluation.judge)))
    facts = _about_change(evaluation)
    if evaluation.key is not None:
        facts.append(("digest of this evaluation", evaluation.key))
    if facts:
        entries.append((change_anchor(section), "Change and guards", facts))
    return entries


def _about_change(evaluation: Evaluation) -> Facts:
    """How far the model is from the untouched one, which guards spoke, and how that was seen."""
    facts = [(CHANGES.get(key, key), format_change(v)) for key, v in evaluation.change.items()]
    if evaluation.guards:
        facts.append(("guards that spoke", ", ".join(evaluation.guards)))
    if not evaluation.change and evaluation.guards:
        broken = "a collapse is a network whose outputs at three timesteps are no finite numbers"
        return [*facts, ("seeds", str(GUARD_SEED)), ("protocol", broken)]
    if not {"samples", "retained_distance"} & evaluation.change.keys():
        return facts
    return [
        *facts,
        ("samples", f"{GUARD_SAMPLES} per model, of what stays"),
        ("seeds", f"{GUARD_SEED} to {GUARD_SEED + GUARD_SAMPLES - 1}; energy distance to untouched "
         f"samples of {GUARD_SEED + GUARD_SAMPLES} to {GUARD_SEED + 2 * GUARD_SAMPLES - 1}"),
        ("protocol", "change of samples: both models drawn as the result is, from the same noise; "
         "energy distance: the untouched model drawn by its own sampler; no-op: samples changed "
         f"by less than {format_change(SAME)}; collapse: energy distance of "
         f"{format_change(UNLIKE)} or more"),
    ]  # fmt: skip
