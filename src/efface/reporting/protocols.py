"""How every figure was measured: what the links beside the numbers lead to."""

from __future__ import annotations

from efface.evaluation.wording import format_change, format_count, format_duration
from efface.records import AttackResult, Attacks, Curve, Evaluation, Result
from efface.reporting.attack_words import name_attack
from efface.reporting.facts import Facts, FactSheet, flatten, make_sheets
from efface.reporting.findings import SAME
from efface.reporting.recorded_curves import name_curve, name_model
from efface.reporting.run_folder import Run

CHANGE_SAMPLES, CHANGE_SEED = 64, 6_000_000  # of efface.evaluation.change, which imports torch
CHANGES = {
    "weights": "weights changed by",
    "samples": "samples changed by, of their spread",
    "retained_distance": "energy distance to the original model's samples, of their spread",
}


def protocols(run: Run) -> list[FactSheet]:
    """One sheet per result, curve, matrix, attack and grid of samples, and one for the judge."""
    evaluation = run.evaluation
    entries = [
        (f"how-{n}", result.spec.label, _about_result(result))
        for n, result in enumerate(evaluation.results)
    ]
    for n, curve in enumerate(evaluation.curves):
        entries.append((f"how-curve-{n}", name_curve(curve.name), _about_curve(curve)))
    if evaluation.labels_seen is not None:
        matrix = evaluation.labels_seen
        samples = f"{format_count(sum(matrix.samples))} over all labels"
        facts = [("samples", samples), ("protocol", matrix.protocol)]
        entries.append(("how-labels", "What was seen under each label", facts))
    if run.attacks is not None:
        for n, result in enumerate(run.attacks.results):
            title = f"Attack: {name_attack(result.attack)}"
            entries.append((f"how-attack-{n}", title, _about_attack(result, run.attacks)))
    if run.sheets is not None:
        grid = run.sheets.grid
        facts = [("before", grid.before), ("after", grid.after), ("noise", "the same for both")]
        entries.append(("how-samples", "Samples before and after", facts))
    entries.append(("how-judge", "The classifier", flatten(evaluation.judge or {})))
    entries.append(("how-change", "Change", _about_change(evaluation)))
    return make_sheets(entries)


def _about_result(result: Result) -> Facts:
    seeds = "not recorded"
    if result.seeds:
        seeds = f"{result.seeds[0]} to {result.seeds[-1]}"
    return [
        ("unit", result.unit),
        ("samples", format_count(result.samples)),
        ("seeds", seeds),
        ("protocol", result.protocol),
        *flatten(result.extractor or {}, "measured with"),
    ]


def _about_curve(curve: Curve) -> Facts:
    models = ", ".join(name_model(name) for name in curve.lines)
    return [
        ("models", models),
        ("axes", f"{curve.y_label} against {curve.x_label}"),
        ("protocol", curve.protocol),
        *flatten(curve.extractor or {}, "measured with"),
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


def _about_change(evaluation: Evaluation) -> Facts:
    """How far the model is from the original one, and how that was measured."""
    facts = [(CHANGES.get(key, key), format_change(v)) for key, v in evaluation.change.items()]
    if evaluation.broken:
        broken = "a model is broken whose outputs at three timesteps are not finite numbers"
        facts += [("seeds", str(CHANGE_SEED)), ("protocol", broken)]
    elif {"samples", "retained_distance"} & evaluation.change.keys():
        seeds = [CHANGE_SEED + n * CHANGE_SAMPLES for n in (1, 2)]
        facts += [
            ("samples", f"{CHANGE_SAMPLES} retained ones per model"),
            ("seeds", f"{CHANGE_SEED} to {seeds[0] - 1}; energy distance to "
             f"samples of {seeds[0]} to {seeds[1] - 1}"),
            ("protocol", "change of samples: both models sampled as the result is, from the same "
             "noise; energy distance: the original model sampled by its own sampler; no effect: "
             f"samples changed by less than {format_change(SAME)}"),
        ]  # fmt: skip
    if evaluation.key is not None:
        facts.append(("digest of this evaluation", evaluation.key))
    return facts
